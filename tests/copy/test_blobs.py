"""Which destinations are served when several ask for one blob at the same time."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from imageferry.copy import blobs
from imageferry.copy.blob_move import BlobMove, BlobMover
from imageferry.copy.blobs import BlobDistributor
from imageferry.copy.errors import DeliveryError
from imageferry.copy.known_contents import MISSES, KnownContents
from imageferry.copy.transfer import Sessions
from imageferry.model import Configuration
from imageferry.registry import Descriptor, RegistryClient, Repository
from imageferry.registry.errors import NotFound
from imageferry.registry.limits.registry_limits import RunLimits
from imageferry.report.outcomes import Outcomes
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.registry.opening import access

BLOB, OTHER = (Descriptor("", sha256(data), len(data)) for data in (b"blob", b"other"))


class Transfers:
    """In place of `BlobTransfer`, without bytes. Each waits until its blob may `go`.

    It fails at the `broken` repositories, or at all of its destinations where its source is broken.
    """

    def __init__(self) -> None:
        self.made: list[tuple[str, str, list[str]]] = []
        self.begun: defaultdict[Descriptor, asyncio.Event] = defaultdict(asyncio.Event)
        self.go: defaultdict[Descriptor, asyncio.Event] = defaultdict(asyncio.Event)
        self.broken: set[str] = set()

    def __call__(self, blob: Descriptor, sources: Sequence[Repository], _: Outcomes, __: Sessions) -> "_Transfer":
        return _Transfer(self, blob, sources[0])


@dataclass
class _Transfer:
    transfers: Transfers
    blob: Descriptor
    source: Repository

    async def run(self, destinations: Sequence[Repository]) -> None:
        """Note the transfer, and wait."""
        names = sorted(each.repository for each in destinations)
        self.transfers.made.append((self.blob.digest, self.source.repository, names))
        self.transfers.begun[self.blob].set()
        await self.transfers.go[self.blob].wait()
        broken = self.transfers.broken
        failed = [each.name for each in destinations if {each.repository, self.source.repository} & broken]
        if failed:
            raise DeliveryError("blob", dict.fromkeys(failed, NotFound("read the blob", "it is not there")))


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch) -> Transfers:
    """Transfers of which none may go yet."""
    made = Transfers()
    monkeypatch.setattr(blobs, "BlobTransfer", made)
    return made


@dataclass
class Opened:
    """A distributor, two sources at one registry, and destinations at registries of their own that are empty."""

    distributor: BlobDistributor
    one: Repository
    two: Repository
    near: Repository
    far: Repository
    known: KnownContents
    outcomes: Outcomes = field(default_factory=Outcomes)


@asynccontextmanager
async def opened(mover: BlobMover = BlobMove.run) -> AsyncIterator[Opened]:
    """Open them, with one slot for moves."""
    known, outcomes = KnownContents(), Outcomes()
    limits = RunLimits(Configuration({}, ()).settings_of)
    async with (
        RegistryClient("source.invalid") as source,
        RegistryClient("near.invalid") as near,
        RegistryClient("far.invalid") as far,
    ):
        destinations = Repository(near, "near", writable=True), Repository(far, "far", writable=True)
        for destination in destinations:
            make_known_empty(known, destination)
        distributor = BlobDistributor(known, outcomes, limits, mover, proc=1)
        sources = Repository(source, "one"), Repository(source, "two")
        yield Opened(distributor, *sources, *destinations, known, outcomes)


def make_known_empty(known: KnownContents, repository: Repository) -> None:
    """Spare the repository the requests that look for blobs."""
    known.add_empty(repository)
    for _ in range(MISSES):
        known.note_absent(repository)


async def until_all_wait() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_those_who_ask_while_the_first_waits_for_a_slot_are_served_by_its_move(transfers: Transfers) -> None:
    async with opened() as to:
        ensure = to.distributor.ensure_blob
        occupant = asyncio.create_task(ensure(OTHER, to.one, [to.near]))
        await transfers.begun[OTHER].wait()
        askers = [asyncio.create_task(ensure(BLOB, source, [to.near])) for source in (to.one, to.two, to.one)]
        await until_all_wait()
        transfers.go[OTHER].set()
        transfers.go[BLOB].set()
        results = await asyncio.gather(occupant, *askers)
        assert all(not result.failures for result in results)
        assert to.known.has_blob(to.near, BLOB.digest)
    assert transfers.made == [(OTHER.digest, "one", ["near"]), (BLOB.digest, "one", ["near"])]


async def test_one_that_was_served_by_a_cancelled_task_is_served_again(transfers: Transfers) -> None:
    async with opened() as to:
        ensure = to.distributor.ensure_blob
        occupant = asyncio.create_task(ensure(OTHER, to.one, [to.near]))
        await transfers.begun[OTHER].wait()
        first, second = (asyncio.create_task(ensure(BLOB, to.one, [to.near])) for _ in range(2))
        await until_all_wait()
        transfers.go[OTHER].set()
        await occupant
        await transfers.begun[BLOB].wait()
        first.cancel()
        transfers.go[BLOB].set()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not (await second).failures
        assert to.known.has_blob(to.near, BLOB.digest)
    assert [digest for digest, *_ in transfers.made] == [OTHER.digest, BLOB.digest, BLOB.digest]


async def test_what_one_source_lacks_another_brings(transfers: Transfers) -> None:
    transfers.broken = {"one"}
    async with opened() as to:
        ensure = to.distributor.ensure_blob
        occupant = asyncio.create_task(ensure(OTHER, to.two, [to.near]))
        await transfers.begun[OTHER].wait()
        askers = [asyncio.create_task(ensure(BLOB, source, [to.near])) for source in (to.one, to.two, to.one)]
        await until_all_wait()
        transfers.go[OTHER].set()
        transfers.go[BLOB].set()
        first, second, third = await asyncio.gather(*askers)
        await occupant
        assert list(first.failures) == [to.near.name]
        assert (second.failures, third.failures) == ({}, {})
        assert to.known.has_blob(to.near, BLOB.digest)
    assert [source for _, source, _ in transfers.made] == ["two", "one", "two"]


async def test_another_attempt_at_a_move_leaves_out_what_has_arrived(transfers: Transfers) -> None:
    transfers.go[BLOB].set()
    transfers.broken = {"far"}

    async def move_twice(move: BlobMove) -> None:
        with pytest.raises(DeliveryError) as raised:
            await move.run()
        assert list(raised.value.failures) == [move.destinations[1].name]
        transfers.broken.clear()
        await move.run()
        # A third one has nothing to do.
        await move.run()

    async with opened(move_twice) as to:
        result = await to.distributor.ensure_blob(BLOB, to.one, [to.near, to.far])
        assert (result.failures, result.sent_to) == ({}, {to.near.name, to.far.name})
        assert to.outcomes.totals.blobs_copied == 2
    # The source has been read by then, so it is not read again.
    assert transfers.made == [(BLOB.digest, "one", ["far", "near"]), (BLOB.digest, "near", ["far"])]


async def test_one_blob_is_moved_once_at_a_time(transfers: Transfers) -> None:
    moving: set[str] = set()
    moves = 0

    async def move_alone(move: BlobMove) -> None:
        nonlocal moves
        moves += 1
        assert move.blob.digest not in moving
        moving.add(move.blob.digest)
        try:
            await until_all_wait()
            await move.run()
        finally:
            moving.remove(move.blob.digest)

    transfers.go[BLOB].set()
    transfers.broken = {"one"}
    async with opened(move_alone) as to:
        ensure = to.distributor.ensure_blob
        askers = [(source, each) for each in (to.near, to.far) for source in (to.one, to.two, to.one)]
        results = await asyncio.gather(*(ensure(BLOB, source, [destination]) for source, destination in askers))
        assert not results[-1].failures
    assert moves > 1


async def test_a_destination_that_asks_while_others_are_looked_up_waits_for_its_slot(
    transfers: Transfers, fake_destination: FakeRegistry
) -> None:
    fake_destination.image("a/app", "v1", [b"blob"])
    fake_destination.rules.append(Fault("blob-head", actions.delay(0.2)))
    async with opened() as to, RegistryClient(fake_destination.host, access()) as client:
        has_it = Repository(client, "a/app", writable=True)
        occupant = asyncio.create_task(to.distributor.ensure_blob(OTHER, to.one, [to.near]))
        await transfers.begun[OTHER].wait()
        first = asyncio.create_task(to.distributor.ensure_blob(BLOB, to.one, [has_it]))
        await until(lambda: fake_destination.count("blob-head") == 1)
        second = asyncio.create_task(to.distributor.ensure_blob(BLOB, to.one, [to.far]))
        await asyncio.sleep(0.5)
        assert transfers.made == [(OTHER.digest, "one", ["near"])]
        transfers.go[OTHER].set()
        transfers.go[BLOB].set()
        results = await asyncio.gather(occupant, first, second)
        assert all(not result.failures for result in results)
    assert transfers.made[1:] == [(BLOB.digest, "one", ["far"])]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)
