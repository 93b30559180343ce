"""Objects that always fail at a registry that answers others: each costs its own images, and nobody else."""

from collections.abc import Callable

import pytest

from imageferry.config import load_text
from imageferry.copy import retries
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.copy.retries import READ_BREAKS
from imageferry.copy.runner import LocalRunner
from imageferry.registry.http.retry import ATTEMPTS
from imageferry.report.outcomes import Report
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.exchange import Call
from testkit.registries.fault_rules import Action, Fault, Match
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors

BROKEN = 6
TAGS = [f"v{number:02}" for number in range(30)]
LAYERS = {tag: f"layer of {tag}".encode() * 100 for tag in TAGS}
DIGESTS = [sha256(LAYERS[tag]) for tag in TAGS[:BROKEN]]

ALWAYS: dict[str, Action] = {
    "500": actions.refuse(500, "UNKNOWN", "no such file"),
    "503": actions.respond(503),
    "hang-up": actions.hang_up(),
    "reset": actions.hang_up("reset"),
}


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "DELAYS", [0.0])


async def copy_all(
    images: object, *registries: FakeRegistry, auth: dict[str, dict[str, object]] | None = None
) -> Report:
    """Copy as a run does, all tags side by side, with the retries of a run."""
    configuration = load_text(configured(images, *registries, auth=auth), "config.json", environment={})
    async with Engine(configuration, Options(), environment={}) as engine:
        await LocalRunner(engine).run(configuration.rules)
        return engine.outcomes.report()


def by_tag(source: FakeRegistry, destination: FakeRegistry) -> dict[str, str]:
    """One rule for each tag, the broken ones first."""
    return {f"{source.host}/a/app:{tag}": f"{destination.host}/a/app" for tag in TAGS}


def holds(report: Report, destination: FakeRegistry, words: str) -> None:
    """Check that the broken ones have failed with the true cause, and that all others are there."""
    failed = errors(report)
    assert sorted(name.rpartition(":")[2] for name in failed) == TAGS[:BROKEN]
    assert destination.tags("a/app") == TAGS[BROKEN:]
    for error in failed.values():
        assert words in error
        assert "see that it is up" not in error


def named(digests: list[str]) -> Callable[[Call], bool]:
    return lambda call: any(digest in call.path for digest in digests)


@pytest.mark.parametrize("always", list(ALWAYS))
async def test_layers_that_always_fail_cost_their_own_images(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, waited: list[float], always: str
) -> None:
    for tag in TAGS:
        fake_source.image("a/app", tag, [LAYERS[tag]])
    fault = Fault(Match("blob-get", predicate=named(DIGESTS)), ALWAYS[always])
    fake_source.rules.append(fault)
    report = await copy_all(by_tag(fake_source, fake_destination), fake_source, fake_destination)
    holds(report, fake_destination, "read blob")
    # Three attempts at a blob, each of as many tries as one exchange has, and nobody waits for them. What breaks off is
    # read on, and asked for twice on a connection that was used before.
    breaks = 1 if always in ("500", "503") else 2 * READ_BREAKS
    assert fault.hits <= BROKEN * 3 * breaks * ATTEMPTS
    assert waited == []


@pytest.mark.parametrize("kind", ["manifest-get", "manifest-put", "upload-start", "upload-put"])
async def test_what_always_fails_otherwise_costs_its_own_images(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, waited: list[float], kind: str
) -> None:
    # What is started and uploaded is told apart by its repository.
    images = {}
    for number, tag in enumerate(TAGS):
        repository = f"a/app{number:02}"
        fake_source.image(repository, tag, [LAYERS[tag]])
        images[f"{fake_source.host}/{repository}:{tag}"] = f"{fake_destination.host}/{repository}"
    registry = fake_source if kind == "manifest-get" else fake_destination
    fault = Fault(Match(kind, path=r"a/app0[0-5]/"), actions.refuse(500, "UNKNOWN", "no such file"))
    registry.rules.append(fault)
    report = await copy_all(images, fake_source, fake_destination)
    assert report.totals.copied == len(TAGS) - BROKEN
    assert all("500" in error and "see that it is up" not in error for error in errors(report).values())
    assert waited == []
    # Two blobs of an image at most, three attempts at each, and the tries of one exchange.
    assert fault.hits <= BROKEN * 2 * 3 * ATTEMPTS


async def test_a_token_server_that_fails_for_some_repositories_costs_theirs_alone(
    fake_destination: FakeRegistry, waited: list[float]
) -> None:
    with FakeRegistry(auth=Bearer({"ferry": "secret"})) as source:
        images = {}
        for number, tag in enumerate(TAGS):
            source.image(f"a/app{number:02}", tag, [LAYERS[tag]])
            images[f"{source.host}/a/app{number:02}:{tag}"] = f"{fake_destination.host}/a/app{number:02}"

        def of_some(call: Call) -> bool:
            return any(f"a/app0{number}:" in (call.query("scope") or "") for number in range(BROKEN))

        source.rules.append(Fault(Match("token", predicate=of_some), actions.respond(500)))
        entry: dict[str, dict[str, object]] = {
            source.host: {"insecure": True, "username": "ferry", "password": "secret"}
        }
        report = await copy_all(images, source, fake_destination, auth=entry)
    assert report.totals.copied == len(TAGS) - BROKEN
    assert all("500" in error for error in errors(report).values())
    assert waited == []


async def test_a_layer_that_many_tags_share_and_that_always_fails_is_given_up_for_all_of_them(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for tag in TAGS[BROKEN:]:
        fake_source.image("a/app", tag, [LAYERS[tag]])
    for number in range(200):
        fake_source.image("a/app", f"w{number:03}", [LAYERS[TAGS[0]], str(number).encode()])
    fault = Fault(Match("blob-get", path=DIGESTS[0]), ALWAYS["500"])
    fake_source.rules.append(fault)
    report = await copy_all(
        {f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}, fake_source, fake_destination
    )
    assert fake_destination.tags("a/app") == TAGS[BROKEN:]
    assert report.totals.failed == 200
    assert all("500" in error for error in errors(report).values())
    assert fault.hits <= 60


async def test_a_registry_that_answers_503_to_everything_is_given_up(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    tags = [f"v{number}" for number in range(300)]
    images = {f"{fake_source.host}/a/app:{tag}": f"{fake_destination.host}/a/app" for tag in tags}
    fake_source.rules.append(Fault(Match(predicate=lambda call: call.kind != "ping"), actions.respond(503)))
    report = await copy_all(images, fake_source, fake_destination)
    assert report.totals.failed == 300
    assert sum("see that it is up" in error for error in errors(report).values()) > 200
    assert len(fake_source.log) <= 150
