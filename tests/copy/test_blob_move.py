"""Who moves a blob: the engine by itself, with retries, or the mover that it is given."""

import asyncio

import pytest

from imageferry.config import load_text
from imageferry.copy import retries
from imageferry.copy.blob_move import BlobMove, move_with_retries
from imageferry.copy.engine import Engine
from imageferry.copy.errors import BlobFailed, DeliveryError
from imageferry.copy.options import Options
from imageferry.errors import ImageferryError
from imageferry.registry import Descriptor, RegistryClient, Repository
from imageferry.registry.errors import NotFound, Unreachable
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured

LARGE = bytes(range(256)) * 4096


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "DELAYS", [0.0])


def a_move(errors: list[ImageferryError], size: int = 4) -> tuple[BlobMove, list[BlobMove]]:
    """Make a move whose attempts fail with these errors, then succeed; and the list of its attempts."""
    repository = Repository(RegistryClient("b.invalid"), "app", writable=True)
    attempts: list[BlobMove] = []

    async def transfer(move: BlobMove) -> None:
        attempts.append(move)
        if len(attempts) <= len(errors):
            raise DeliveryError("blob", {repository.name: errors[len(attempts) - 1]})

    return BlobMove(Descriptor("", sha256(b"blob"), size), repository, [repository], transfer), attempts


@pytest.mark.parametrize(("size", "end"), [(20_000_000, " 20 MB"), (-1, "")])
def test_a_label_has_the_size_where_it_is_known(size: int, end: str) -> None:
    move, _ = a_move([], size)
    assert move.label == f"{sha256(b'blob')[7:19]}{end}"


async def test_a_transient_error_is_tried_again() -> None:
    move, attempts = a_move([Unreachable("write", "it is down")] * 2)
    await move_with_retries(move, 2)
    assert attempts == [move] * 3


async def test_an_error_that_is_not_transient_is_not_tried_again() -> None:
    move, attempts = a_move([NotFound("read", "it is not there")])
    with pytest.raises(DeliveryError):
        await move_with_retries(move, 2)
    assert attempts == [move]


async def test_a_blob_whose_retries_are_used_up_has_failed_for_good() -> None:
    error = Unreachable("write", "it is down")
    move, attempts = a_move([error] * 3)
    with pytest.raises(DeliveryError) as raised:
        await move_with_retries(move, 2)
    assert len(attempts) == 3
    assert not raised.value.transient
    (failure,) = raised.value.failures.values()
    assert isinstance(failure, BlobFailed)
    assert str(failure) == str(error)


async def test_an_engine_without_a_mover_tries_blobs_again(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("a/app", "v1", [LARGE])
    read = Match("blob-get", path=sha256(LARGE))
    fault = Fault(read, actions.truncate(0), times=2 * retries.READ_BREAKS)
    fake_source.rules.append(fault)
    text = configured({f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    configuration = load_text(text, "c", environment={})
    async with Engine(configuration, Options(retries=2), environment={}) as engine:
        (job,) = await engine.plan(configuration.rules[0])
        await engine.copy(job)
    assert fault.hits == 2 * retries.READ_BREAKS
    assert fake_destination.digest("a/app", "v1") == digest


async def test_an_engine_gives_every_blob_to_its_mover(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("a/app", "v1", [LARGE, b"small"])
    moved: dict[str, tuple[str, list[str]]] = {}

    async def note_and_move(move: BlobMove) -> None:
        moved[move.blob.digest] = move.source.name, [each.name for each in move.destinations]
        await asyncio.sleep(0)
        await move.run()

    text = configured({f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    configuration = load_text(text, "c", environment={})
    async with Engine(configuration, Options(), mover=note_and_move, environment={}) as engine:
        (job,) = await engine.plan(configuration.rules[0])
        await engine.copy(job)
    assert fake_destination.digest("a/app", "v1") == digest
    assert {sha256(LARGE), sha256(b"small")} < moved.keys()
    assert set(map(str, moved.values())) == {
        str((f"{fake_source.host}/a/app", [f"{fake_destination.host}/a/app"])),
    }
