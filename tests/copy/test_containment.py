"""No exception of whatever kind, in planning, listing or copying, costs more than the image or rule it came from."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from imageferry.copy import image as image_module
from imageferry.copy import rule_planning
from imageferry.copy.transfer import BlobTransfer
from imageferry.registry import Repository
from imageferry.registry.blobs import Blobs
from imageferry.registry.manifests import Manifests
from imageferry.registry.tags import Tags
from imageferry.registry.uploads import Uploads
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, outcomes
from tests.copy.test_upstream import run_side_by_side

ODD = [
    OverflowError("cannot convert float infinity to integer"),
    ExceptionGroup("two", [RecursionError("maximum recursion depth exceeded"), httpx.InvalidURL("Invalid port")]),
]


class Odd:
    """Registries of which one repository, ``bad``, raises what nobody expects."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self._monkeypatch = monkeypatch
        self.error = error
        self.hits = 0

    def raise_in(self, owner: type, name: str, *, bad: str) -> None:
        """Have a method raise where it is about a repository of which the name has ``bad`` in it."""
        original: Callable[..., Any] = getattr(owner, name)

        def is_bad(part: Any) -> bool:
            repository: Repository = part if isinstance(part, Repository) else part._repository
            return bad in repository.name

        async def method(part: Any, *args: Any, **more: Any) -> Any:
            if is_bad(part):
                self.hits += 1
                raise self.error
            return await original(part, *args, **more)

        async def pages(part: Any) -> AsyncIterator[list[str]]:
            if is_bad(part):
                self.hits += 1
                raise self.error
            async for page in original(part):
                yield page

        self._monkeypatch.setattr(owner, name, pages if name == "pages" else method)


@pytest.fixture(params=ODD, ids=lambda error: type(error).__name__)
def odd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Odd:
    return Odd(monkeypatch, request.param)


def text(source: FakeRegistry, destination: FakeRegistry, *, to: tuple[str, ...] = ("bad/app", "well/app")) -> str:
    """Write a configuration with a rule of two destinations and another rule beside it."""
    images = {
        f"{source.host}/one/app": [f"{destination.host}/{name}" for name in to],
        f"{source.host}/two/app:v1": f"{destination.host}/two/app",
    }
    return configured(images, source, destination)


def fill(source: FakeRegistry, destination: FakeRegistry) -> None:
    """Put two tags at the source, and old images at all destinations, so that everything is asked for."""
    for tag in ("v1", "v2"):
        source.image("one/app", tag, [tag.encode(), b"shared"])
        for name in ("bad/app", "well/app", "two/app"):
            destination.image(name, tag, [b"old"])
    source.image("two/app", "v1", [b"shared", b"two"])


@pytest.mark.parametrize(
    ("owner", "method"),
    [(Manifests, "head"), (Manifests, "put"), (Blobs, "exists"), (Uploads, "start")],
    ids=lambda each: getattr(each, "__name__", each),
)
async def test_at_one_destination(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, odd: Odd, owner: type, method: str
) -> None:
    fill(fake_source, fake_destination)
    odd.raise_in(owner, method, bad="bad/app")
    report = await run_side_by_side(text(fake_source, fake_destination))
    assert odd.hits
    host = fake_destination.host
    # A blob that goes to both at once fails them both: nobody can say whose the exception was.
    for tag in ("v1", "v2"):
        assert outcomes(report)[f"{host}/bad/app:{tag}"] == "failed"
        assert "unexpected" in errors(report)[f"{host}/bad/app:{tag}"]
    assert len(report.images) == 5
    assert outcomes(report)[f"{host}/two/app:v1"] == "copied"
    if owner is not Uploads:
        assert fake_destination.digest("well/app", "v2") == fake_source.digest("one/app", "v2")


async def test_in_listing_a_destination(fake_source: FakeRegistry, fake_destination: FakeRegistry, odd: Odd) -> None:
    fill(fake_source, fake_destination)
    odd.raise_in(Tags, "pages", bad="bad/app")
    report = await run_side_by_side(text(fake_source, fake_destination))
    assert odd.hits == 1
    # The list only saves requests.
    assert set(outcomes(report).values()) == {"copied"}
    assert len(report.images) == 5


async def test_in_listing_a_source(fake_source: FakeRegistry, fake_destination: FakeRegistry, odd: Odd) -> None:
    fill(fake_source, fake_destination)
    odd.raise_in(Tags, "all", bad="one/app")
    report = await run_side_by_side(text(fake_source, fake_destination))
    host = fake_destination.host
    assert outcomes(report) == {
        f"{host}/bad/app": "failed", f"{host}/well/app": "failed", f"{host}/two/app:v1": "copied",
    }  # fmt: skip


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("method", ["head", "get"])
async def test_in_reading_a_manifest_of_a_source(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, odd: Odd, method: str, dry_run: bool
) -> None:
    fill(fake_source, fake_destination)
    odd.raise_in(Manifests, method, bad="one/app")
    report = await run_side_by_side(text(fake_source, fake_destination), dry_run=dry_run)
    found = outcomes(report)
    assert len(found) == 5
    assert found.pop(f"{fake_destination.host}/two/app:v1") == ("would_copy" if dry_run else "copied")
    assert set(found.values()) == ({"would_copy"} if dry_run and method == "get" else {"failed"})


@pytest.mark.parametrize("dry_run", [False, True])
async def test_in_filtering(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    fill(fake_source, fake_destination)
    for module in (rule_planning, image_module):
        original = module.filter_platforms

        async def filtered(
            manifest: Any, source: Repository, wanted: Any, reader: Any, original: Any = original
        ) -> Any:
            if "one/app" in source.name:
                raise RecursionError("maximum recursion depth exceeded")
            return await original(manifest, source, wanted, reader)

        monkeypatch.setattr(module, "filter_platforms", filtered)
    report = await run_side_by_side(text(fake_source, fake_destination), dry_run=dry_run)
    found = outcomes(report)
    assert found[f"{fake_destination.host}/two/app:v1"] == ("would_copy" if dry_run else "copied")
    assert len(found) == 5
    if not dry_run:
        assert list(found.values()).count("failed") == 4


async def test_in_moving_a_blob(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, odd: Odd, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(fake_source, fake_destination)
    original = BlobTransfer.run

    async def run(self: BlobTransfer, destinations: list[Repository]) -> None:
        if any("bad/app" in each.name for each in destinations):
            raise odd.error
        await original(self, destinations)

    monkeypatch.setattr(BlobTransfer, "run", run)
    report = await run_side_by_side(text(fake_source, fake_destination))
    assert len(report.images) == 5
    assert outcomes(report)[f"{fake_destination.host}/two/app:v1"] == "copied"
    assert outcomes(report)[f"{fake_destination.host}/bad/app:v1"] == "failed"
