"""The works: what is in the source, what is at the destinations before, and how far away they are."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.storage import Storage, Stored

MIB = 1 << 20

# Of the layers of 1 to 20 MiB, at scale 1: about 1 GiB in all moves then.
LAYER_SHARE = 0.3

# One round trip to a far registry, in seconds.
FAR = 0.025


@dataclass(frozen=True)
class Work:
    """One work. ``content`` names what the source holds; ``each_tag`` means a rule for every single tag."""

    name: str
    content: str
    title: str
    up_to_date: bool = False
    each_tag: bool = False
    destinations: int = 1
    tls: bool = False
    round_trip: float = 0.0

    @property
    def one_blob(self) -> bool:
        """Whether the limits, which move a single blob, can do it."""
        return self.content == "blob"


WORKS = {
    work.name: work
    for work in (
        Work("a", "tags", "{images} tags of one repository, all up to date", up_to_date=True),
        Work("b", "repositories", "{images} rules of one up-to-date tag each", up_to_date=True, each_tag=True),
        Work("c-http", "blob", "one blob of {size}, over HTTP"),
        Work("c-https", "blob", "one blob of {size}, over HTTPS", tls=True),
        Work("d", "images", "{images} images of 6 layers, half of them shared, {size}"),
        Work("e", "images", "the same {images} images to three destinations, {size} each", destinations=3),
        Work("f-a", "tags", "as a, every registry 25 ms away", up_to_date=True, round_trip=FAR),
        Work("f-d", "images", "as d, every registry 25 ms away", round_trip=FAR),
        Work("g", "tiny", "{images} tags of tiny images"),
    )
}


def chosen(names: list[str]) -> list[Work]:
    """Return the works of these names; a letter alone means all that begin with it. Raises ``ValueError``."""
    if not names:
        return list(WORKS.values())
    found: dict[str, Work] = {}
    for name in names:
        matching = {key: work for key, work in WORKS.items() if key == name or key.startswith(f"{name}-")}
        if not matching:
            raise ValueError(f"there is no work {name!r}: expected {', '.join(WORKS)}")
        found |= matching
    return [work for work in WORKS.values() if work.name in found]


def make_content(name: str, folder: Path, scale: float) -> Stored:
    """Make what the source of a work holds."""
    storage = Storage(folder)
    _MAKERS[name](storage, scale)
    return storage.stored


def _tags(storage: Storage, scale: float) -> None:
    shared = storage.layer("tags", 2_000)
    for number in range(_count(500, scale)):
        storage.image("bench/tags", f"v{number}", [shared, storage.layer(f"tags {number}", 1_000)])


def _repositories(storage: Storage, scale: float) -> None:
    shared = storage.layer("repositories", 2_000)
    for number in range(_count(500, scale)):
        layer = storage.layer(f"repositories {number}", 1_000)
        storage.image(f"bench/rule-{number}", "v1", [shared, layer])


def _blob(storage: Storage, scale: float) -> None:
    storage.image("bench/blob", "v1", [storage.layer("blob", int(2048 * MIB * scale))])


def _images(storage: Storage, scale: float) -> None:
    sizes = random.Random("sizes")
    images = _count(100, min(scale, 1))

    def layer(name: str) -> dict[str, object]:
        return storage.layer(name, int(sizes.uniform(1, 20) * MIB * LAYER_SHARE * max(scale, 1)))

    bases = [[layer(f"base {base} {number}") for number in range(3)] for base in range(max(1, images // 10))]
    for number in range(images):
        own = [layer(f"own {number} {layer_number}") for layer_number in range(3)]
        # Every base is in every repository: what one of them has, a registry can mount in the others.
        repository, base = f"bench/images-{number // 10}", bases[number % len(bases)]
        storage.image(repository, f"v{number % 10}", [*base, *own])


def _tiny(storage: Storage, scale: float) -> None:
    for number in range(_count(1000, scale)):
        storage.image("bench/tiny", f"v{number}", [storage.layer(f"tiny {number}", 1_000)])


_MAKERS: dict[str, Callable[[Storage, float], None]] = {
    "tags": _tags,
    "repositories": _repositories,
    "blob": _blob,
    "images": _images,
    "tiny": _tiny,
}


def _count(full: int, scale: float) -> int:
    return max(4, round(full * scale))
