"""The challenges of a 401 answer (RFC 9110, 11.6.1; distribution's token authentication specification)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a grammar, not a secret

# What has been matched is never tried in another way (``*+``): a header that is made for it would take minutes.
_PARAMETER = re.compile(rf"\s*+({_TOKEN}+)\s*+=\s*+(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s,]*+))\s*+(?:,|$)")
_SCHEME = re.compile(rf"[\s,]*+({_TOKEN}+)(?=\s|,|$)(?!\s*+=)")

# Characters of one header, and headers of one answer, that are looked at.
_LENGTH = 8 * 1024
_HEADERS = 8


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way of authentication that a registry offers; ``scheme`` and the parameters' names are in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Return every challenge of all ``WWW-Authenticate`` headers; one header may hold several."""
    return [challenge for header in itertools.islice(headers, _HEADERS) for challenge in _parse(header[:_LENGTH])]


def _parse(header: str) -> list[Challenge]:
    challenges: list[Challenge] = []
    position = 0
    while (scheme := _SCHEME.match(header, position)) is not None:
        position = scheme.end()
        parameters: dict[str, str] = {}
        while (found := _PARAMETER.match(header, position)) is not None:
            quoted = found[2]
            parameters[found[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else found[3]
            position = found.end()
        challenges.append(Challenge(scheme[1].lower(), parameters))
    return challenges
