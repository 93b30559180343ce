"""One seed's scenario: images, the registries they are copied between, and what goes wrong there."""

from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any

from testkit.registries.quirks import Quirks
from tests.soak.faults import ScheduledFault, draw_faults, draw_lasting_fault
from tests.soak.images import MIB, Image, described, images

# Kinds of registries: docker/distribution 2.8, distribution 3, and the one in process.
DISTRIBUTION_2, DISTRIBUTION_3, IN_PROCESS = "distribution 2", "distribution 3", "in process"
KINDS = (DISTRIBUTION_2, DISTRIBUTION_3, IN_PROCESS)


@dataclass(frozen=True)
class Site:
    """A registry as it is to be: its kind, the ways of one in process, whether it wants tokens, its troubles."""

    kind: str
    quirks: Quirks = field(default_factory=Quirks)
    tokens: bool = False
    troubles: tuple[ScheduledFault, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """What one seed makes. A destination is a site's number and the prefix of its repositories there."""

    seed: int
    images: tuple[Image, ...]
    source: Site
    sites: tuple[Site, ...]
    destinations: tuple[tuple[int, str], ...]
    by_tag: bool
    proc: int

    @property
    def lasts(self) -> bool:
        """Whether one of its troubles never ends."""
        return any(trouble.times is None for site in (self.source, *self.sites) for trouble in site.troubles)

    @property
    def blobs(self) -> dict[str, int]:
        """The sizes (bytes) of all blobs of all images, by digest."""
        return {digest: size for image in self.images for digest, size in image.blobs.items()}

    def described(self) -> dict[str, Any]:
        """Describe it for the record that a failed seed leaves."""
        return {
            "seed": self.seed,
            "images": [described(image) for image in self.images],
            "source": asdict(self.source),
            "sites": [asdict(site) for site in self.sites],
            "destinations": self.destinations,
            "by_tag": self.by_tag,
            "proc": self.proc,
        }


def make_scenario(seed: int, kinds: tuple[str, ...] = KINDS) -> Scenario:
    """Make the scenario of a seed, of registries of these kinds."""
    rng = Random(seed)
    made = tuple(images(rng, largest=3 * MIB, most=4))
    source = _site(rng, kinds, destination=False)
    sites = [_site(rng, kinds, destination=True) for _ in range(rng.choice([1, 1, 2, 2, 3]))]
    destinations = [(number, "copy") for number in range(len(sites))]
    if len(sites) < 3 and rng.random() < 0.3:
        destinations.append((rng.randrange(len(sites)), "second"))
    if rng.random() < 0.12:
        number = rng.randrange(-1, len(sites))
        if number < 0:
            source = replace(source, troubles=(*source.troubles, draw_lasting_fault(rng, destination=False)))
        else:
            endless = draw_lasting_fault(rng, destination=True)
            sites[number] = replace(sites[number], troubles=(*sites[number].troubles, endless))
    return Scenario(
        seed, made, source, tuple(sites), tuple(destinations), by_tag=rng.random() < 0.6, proc=rng.randint(1, 6)
    )


def _site(rng: Random, kinds: tuple[str, ...], *, destination: bool) -> Site:
    # Drawn from all kinds in any case: a seed's other choices are the same where one of them is missing.
    kind = rng.choice(KINDS)
    if kind not in kinds:
        kind = IN_PROCESS
    tokens = rng.random() < 0.4
    quirks = _quirks(rng, destination=destination)
    drawn = draw_faults(rng, destination=destination, tokens=tokens, most=10)
    return Site(kind, quirks if kind == IN_PROCESS else Quirks(), tokens, tuple(drawn))


def _quirks(rng: Random, *, destination: bool) -> Quirks:
    """Draw the ways of a registry in process: mostly the specification's, some of those of the field."""
    odd = rng.random() < 0.6
    quirks = Quirks(
        # Most real ones check; one that does not shows what the order of the copying alone is worth.
        check_references=rng.random() < 0.4,
        broken_patch=rng.choice(["keep", "drop"]),
        ranges=rng.random() < 0.8,
        location=rng.choice(["absolute", "relative"]),
        state=rng.random() < 0.7,
    )
    if odd and destination:
        quirks = replace(
            quirks,
            mount=rng.choice([201, 202, 404, 405, 500]),
            patch_status=rng.choice([202, 202, 201, 204]),
            patch_before_put=rng.random() < 0.2,
            cancel_status=rng.choice([204, 204, 401, 405]),
            post_with_digest=rng.random() < 0.5,
            unknown_name=rng.choice([404, 404, 401, 403, 500]),
        )
    if odd:
        quirks = replace(
            quirks,
            digest_header=rng.random() < 0.7,
            manifest_head=rng.choice([None, None, 405]),
            page_size=rng.choice([None, 1]),
            refuse_ranges=rng.choice([None, None, 400, 416]),
            blob_head=rng.choice([None, None, 405]),
        )
    return quirks
