"""Whether a run ended as it must: everything where it belongs or a cause in plain words, and no broken tag."""

import re
from collections.abc import Iterable

from imageferry.report.outcomes import ImageOutcome, Outcome, Report
from tests.soak.images import Image
from tests.soak.registries import SoakRegistry
from tests.soak.storage import missing_below

# What a person does not want to read: names of classes, objects, traces.
_FOR_PROGRAMS = re.compile(
    r"\b[A-Z]\w*(?:Error|Exception|Timeout|Disconnected|Mismatch|Failure)\b|Traceback|unexpected|<class| object at |"
    r"\bNone\b|aiohttp|httpx|asyncio|\[Errno",
)

# What differs from one run to the next: addresses, digests, names and numbers.
_PARTICULARS = re.compile(
    r"127\.0\.0\.1:\d+(?:/[\w/-]+)?(?:[:@][\w:]*\w)?|\b[0-9a-f]{12,}\b|\bsha256:\w+|\b\d[\d,.]{3,}"
)

Copies = list[tuple[Image, SoakRegistry, str]]
"""Each image with a destination where it should be, and its repository there."""


def find_errors(source: SoakRegistry, copies: Copies, report: Report) -> list[str]:
    """Return what is wrong with the end of a run: nothing where it ended as it must."""
    failed = {image.destination: image for image in report.images if image.outcome is Outcome.FAILED}
    reported = {image.destination for image in report.images}
    faults: list[str] = []
    for image, destination, repository in copies:
        name = f"{destination.host}/{repository}"
        full = f"{name}:{image.tag}"
        if full in failed or name in failed:
            continue
        if full not in reported:
            faults.append(f"{full} is not in the report")
        elif destination.store.manifest(repository, image.tag) != source.store.manifest(image.repository, image.tag):
            faults.append(f"{full} is reported as copied, and differs from its source")
    faults += [f"the cause is not for people: {why!r}" for why in map(_words, failed.values()) if not is_plain(why)]
    return faults + broken_tags(copies)


def broken_tags(copies: Copies, *, at_rest: bool = True) -> list[str]:
    """Return what the tags at all destinations name and is not there, or is not what it should be.

    Where a registry is not ``at_rest``, a tag may be listed that names nothing yet: docker/distribution makes its
    folder first, and its link then.
    """
    destinations = {(each.host, repository): each for _, each, repository in copies}
    return [
        f"{host}/{repository}:{tag}: {fault}"
        for (host, repository), destination in destinations.items()
        for tag in destination.store.tags(repository)
        if at_rest or destination.store.manifest(repository, tag) is not None
        for fault in missing_below(destination.store, repository, tag)
    ]


def is_plain(cause: str) -> bool:
    """Whether a cause says to a person what could not be done, and why."""
    return bool(re.match(r"cannot \w+ .+: .{8,}", cause)) and not _FOR_PROGRAMS.search(cause)


def causes(report: Report) -> Iterable[str]:
    """Return the failures' causes without what differs from run to run, to be counted."""
    for image in report.images:
        if image.outcome is Outcome.FAILED:
            for cause in _words(image).split("; cannot "):
                yield _PARTICULARS.sub("*", cause)


def _words(image: ImageOutcome) -> str:
    return image.error or ""
