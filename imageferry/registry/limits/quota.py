"""The quota headers of a registry: how many requests are left, and for how long (RateLimit, X-RateLimit)."""

from __future__ import annotations

import email.utils
import re
import time
from dataclasses import dataclass

import httpx

# A quota is spread over its window from here on: a tenth of it, or so many requests if its size is not known.
LITTLE = 0.1
LITTLE_OF_UNKNOWN = 10

# The longest interval between two requests, in seconds, by which a small rest is spread.
LONGEST_GAP = 60.0

# A reset beyond this many seconds is no span but a moment: seconds since 1970, as GitHub and GitLab give it.
_A_MOMENT = 10**9

# Seconds: what asks for longer is taken as this, a year, which nobody waits for either.
LONGEST_RETRY_AFTER = 366.0 * 24 * 3600

# Characters of the longest Retry-After that is looked at; a number with more digits is as good as one with these.
_DATE_LENGTH = 128
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?")

_NAMES = (b"ratelimit", b"x-ratelimit")
_FIGURE = re.compile(r"\s*([0-9]{1,15})")
_WINDOW = re.compile(r";\s*w=([0-9]{1,15})")
# "limit=100, remaining=50, reset=30" (draft 7) and '"default";r=50;t=30' (drafts 8 and on).
_FIELD = re.compile(r"\b(limit|remaining|reset|r|t|q)\s*=\s*([0-9]{1,15})")


@dataclass(frozen=True, slots=True)
class Quota:
    """``remaining`` requests of ``limit`` (None: unknown) for the next ``seconds``.

    ``rolling``: these are the length of a window that moves (Docker Hub), not what is left of one.
    """

    remaining: int
    limit: int | None
    seconds: float
    rolling: bool

    @property
    def interval(self) -> float:
        """Seconds between two requests by which the rest lasts; 0 while there is plenty."""
        little = LITTLE_OF_UNKNOWN if self.limit is None else self.limit * LITTLE
        if self.remaining > little:
            return 0.0
        return min(self.seconds / max(self.remaining, 1), LONGEST_GAP)


def read_quota(headers: httpx.Headers) -> Quota | None:
    """Return the quota that a response states; None if it states none, or not for how long.

    Docker Hub: ``RateLimit-Remaining: 76;w=21600``. The IETF drafts (draft-ietf-httpapi-ratelimit-headers):
    ``RateLimit-Remaining`` with ``RateLimit-Reset``, later one ``RateLimit``. GitHub: ``X-RateLimit-…``.
    """
    # One look over the names: most responses have none of them.
    if not any(name.lower().startswith(_NAMES) for name, _ in headers.raw):
        return None
    combined = dict(_FIELD.findall(headers.get("ratelimit", "")))
    remaining = combined.get("remaining") or combined.get("r") or _figure(headers, "remaining")
    reset = combined.get("reset") or combined.get("t") or _figure(headers, "reset")
    policy = dict(_FIELD.findall(headers.get("ratelimit-policy", "")))
    limit = combined.get("limit") or policy.get("q") or _figure(headers, "limit")
    if remaining is None:
        return None
    size = None if limit is None else int(limit)
    if reset is not None:
        return Quota(int(remaining), size, _span(float(reset)), rolling=False)
    window = _WINDOW.search(headers.get("ratelimit-remaining", "")) or _WINDOW.search(
        headers.get("ratelimit-limit", "")
    )
    return None if window is None else Quota(int(remaining), size, float(window[1]), rolling=True)


def retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds of a ``Retry-After``, which is a number or a date (RFC 9110, 10.2.3).

    None without one, or with one that is neither; ``LONGEST_RETRY_AFTER`` at most.
    """
    value = headers.get("retry-after", "").strip()[:_DATE_LENGTH]
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_RETRY_AFTER)
    try:
        seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _figure(headers: httpx.Headers, name: str) -> str | None:
    for full in (f"ratelimit-{name}", f"x-ratelimit-{name}"):
        if found := _FIGURE.match(headers.get(full, "")):
            return found[1]
    return None


def _span(reset: float) -> float:
    return max(0.0, reset - time.time()) if reset > _A_MOMENT else reset
