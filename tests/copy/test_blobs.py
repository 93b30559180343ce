"""Who is served when several ask for one blob at the same time."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from imageferry.copy.blobs import BlobDistributor
from imageferry.copy.errors import DeliveryError
from imageferry.copy.known_contents import MISSES, KnownContents
from imageferry.registry import Descriptor, RegistryClient, Repository
from imageferry.registry.errors import NotFound
from imageferry.report.outcomes import Outcomes
from testkit.images.documents import sha256

BLOB, OTHER = (Descriptor("", sha256(data), len(data)) for data in (b"blob", b"other"))


class Mover:
    """Moves nothing. The moves of a blob wait until it may `go`, and fail where their source is `broken`."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, str, list[str]]] = []
        self.begun: defaultdict[Descriptor, asyncio.Event] = defaultdict(asyncio.Event)
        self.go: defaultdict[Descriptor, asyncio.Event] = defaultdict(asyncio.Event)
        self.broken = ""

    async def move(self, blob: Descriptor, source: Repository, places: list[Repository]) -> None:
        """Note the move, and wait."""
        self.moves.append((blob.digest, source.repository, sorted(place.repository for place in places)))
        self.begun[blob].set()
        await self.go[blob].wait()
        if source.repository == self.broken:
            error = NotFound("read the blob", "it is not there")
            raise DeliveryError("blob", {place.name: error for place in places})


@pytest.fixture
def mover() -> Mover:
    """A mover that lets no move go yet."""
    return Mover()


@asynccontextmanager
async def opened(mover: Mover) -> AsyncIterator[tuple[BlobDistributor, KnownContents, list[Repository], Repository]]:
    """Open two sources, and a destination that is known to be empty."""
    holdings = KnownContents()
    async with RegistryClient("source.invalid") as far, RegistryClient("destination.invalid") as near:
        place = Repository(near, "place", writable=True)
        holdings.add_empty(place)
        for _ in range(MISSES):
            holdings.add_miss(place)
        yield (
            BlobDistributor(holdings, Outcomes(), mover.move, proc=1),
            holdings,
            [Repository(far, "one"), Repository(far, "two")],
            place,
        )


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_those_who_ask_while_the_first_waits_are_served_by_it(mover: Mover) -> None:
    async with opened(mover) as (deliveries, holdings, (one, two), place):
        occupant = asyncio.create_task(deliveries.deliver(OTHER, one, [place]))
        await mover.begun[OTHER].wait()
        askers = [asyncio.create_task(deliveries.deliver(BLOB, source, [place])) for source in (one, two, one)]
        await settled()
        mover.go[OTHER].set()
        mover.go[BLOB].set()
        results = await asyncio.gather(occupant, *askers)
        assert all(not result.failures for result in results)
        assert holdings.has_blob(place, BLOB.digest)
    assert mover.moves == [(OTHER.digest, "one", ["place"]), (BLOB.digest, "one", ["place"])]


async def test_who_was_served_by_one_that_is_cancelled_is_served_again(mover: Mover) -> None:
    async with opened(mover) as (deliveries, holdings, (one, _), place):
        occupant = asyncio.create_task(deliveries.deliver(OTHER, one, [place]))
        await mover.begun[OTHER].wait()
        first, second = (asyncio.create_task(deliveries.deliver(BLOB, one, [place])) for _ in range(2))
        await settled()
        mover.go[OTHER].set()
        await occupant
        await mover.begun[BLOB].wait()
        first.cancel()
        mover.go[BLOB].set()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not (await second).failures
        assert holdings.has_blob(place, BLOB.digest)
    assert [digest for digest, *_ in mover.moves] == [OTHER.digest, BLOB.digest, BLOB.digest]


async def test_what_one_source_lacks_another_brings(mover: Mover) -> None:
    mover.broken = "one"
    async with opened(mover) as (deliveries, holdings, (one, two), place):
        occupant = asyncio.create_task(deliveries.deliver(OTHER, two, [place]))
        await mover.begun[OTHER].wait()
        askers = [asyncio.create_task(deliveries.deliver(BLOB, source, [place])) for source in (one, two, one)]
        await settled()
        mover.go[OTHER].set()
        mover.go[BLOB].set()
        first, second, third = await asyncio.gather(*askers)
        await occupant
        assert list(first.failures) == [place.name]
        assert (second.failures, third.failures) == ({}, {})
        assert holdings.has_blob(place, BLOB.digest)
    assert [source for _, source, _ in mover.moves] == ["two", "one", "two"]
