"""The entries of ``registries``: the limits of each registry, and what else is done there."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import Any

from imageferry.config.document import Document, KeyPath, Number, type_name
from imageferry.config.keys import read_keys
from imageferry.config.schema import RegistrySchema, validate
from imageferry.errors import ImageferryError, InvalidReference
from imageferry.model import ANY_REGISTRY, RegistrySettings
from imageferry.registry_key import ECR_HOST, normalize_key

# More, or slower, than any registry: a slip of the pen rather than a limit.
REQUESTS_MOST = 1000
RATE_LEAST, RATE_MOST = 0.001, 100_000.0
BANDWIDTH_LEAST, BANDWIDTH_MOST = 1000, 10**13

_BANDWIDTH = re.compile(r"(?P<figure>[0-9]{1,15}(?:\.[0-9]{1,9})?) ?(?P<unit>[kKmMgG]i?B|B)?(?:/s)?")
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_WHOLE = re.compile(r"[0-9]{1,15}")
_DECIMAL = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}")

_REQUESTS = f"a whole number from 1 to {REQUESTS_MOST:,}"
_RATE = "a number of requests a second, such as 20 or 0.5"
_BYTES = "bytes a second: a number, or one with kB, MB, GB, KiB, MiB or GiB, such as 50MiB/s"


class LimitError(ImageferryError, ValueError):
    """A text is not a limit. Says what was expected."""


def parse_bandwidth(text: str) -> int:
    """Return the bytes a second of ``50MiB/s``, ``2.5 MB`` or ``1000000``. Raises ``LimitError``.

    Units are kB, MB and GB (powers of 1000), KiB, MiB and GiB (of 1024), with or without ``/s``; bits are refused.
    """
    found = _BANDWIDTH.fullmatch(text.strip())
    if found is None:
        bits = "; bits are not taken, 8 Mbit/s are 1MB/s" if re.search("bit|bps|[kmg]b(/s)?$", text) else ""
        raise LimitError(f"{text!r} is no bandwidth: expected {_BYTES}{bits}")
    rate = float(found["figure"]) * _UNITS[(found["unit"] or "").lower()]
    if not BANDWIDTH_LEAST <= rate <= BANDWIDTH_MOST:
        raise LimitError(f"{text!r} is out of bounds: expected 1kB/s to 10,000GB/s, or leave it out for no limit")
    return round(rate)


def read_registries(document: Document, path: KeyPath) -> dict[str, RegistrySettings]:
    """Return the entries of the mapping at ``path`` by registry (``*``: all others); report the errors in them."""
    found: dict[str, RegistrySettings] = {}
    for inner, name in read_keys(document, path, _normalize_host, "requests, bandwidth and such"):
        if document.at(inner) is None:
            found.setdefault(name, RegistrySettings())
        elif validate(document, inner, RegistrySchema) is not None:
            found.setdefault(name, _read_settings(document, inner, document.at(inner)))
            _refuse_creation(document, inner, name, found[name])
    return found


def _refuse_creation(document: Document, path: KeyPath, name: str, settings: RegistrySettings) -> None:
    """Report ``create_repositories`` for a registry at which Imageferry cannot create them, or need not."""
    if not settings.create_repositories:
        return
    inner = (*path, "create_repositories")
    if name != ANY_REGISTRY and not ECR_HOST.fullmatch(name):
        document.report(inner, "is for Amazon ECR (…dkr.ecr.REGION.amazonaws.com): leave it out for other registries")
    elif importlib.util.find_spec("botocore") is None:
        document.report(inner, "needs botocore, which is not installed: pip install 'imageferry[ecr]'")


def _normalize_host(key: str) -> str:
    """Return the normal form of a key: a whole registry, since that is what counts requests."""
    if key == ANY_REGISTRY:
        return key
    host, _, namespace = normalize_key(key).partition("/")
    if namespace:
        raise InvalidReference(f"settings are those of a whole registry: expected {host}")
    return host


def _read_settings(document: Document, path: KeyPath, entry: dict[str, Any]) -> RegistrySettings:
    def read(key: str, expected: str, parse: Callable[[str], Any], *, units: bool = False) -> Any:
        if key not in entry:
            return None
        value = entry[key]
        if not isinstance(value, Number) and not (units and isinstance(value, str)):
            quoted = ", without quotes" if isinstance(value, str) else ""
            document.report((*path, key), f"is {type_name(value)}: expected {expected}{quoted}, or leave the key out")
            return None
        try:
            return parse(value.text if isinstance(value, Number) else value)
        except LimitError as error:
            document.report((*path, key), str(error))
            return None

    return RegistrySettings(
        requests=read("requests", _REQUESTS, _parse_requests),
        requests_per_second=read("requests_per_second", _RATE, _parse_rate),
        bandwidth=read("bandwidth", _BYTES, parse_bandwidth, units=True),
        foreign_layers=entry.get("foreign_layers"),
        create_repositories=entry.get("create_repositories"),
    )


def _parse_requests(text: str) -> int:
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= REQUESTS_MOST:
        raise LimitError(f"is {text}: expected {_REQUESTS}")
    return int(text)


def _parse_rate(text: str) -> float:
    if not _DECIMAL.fullmatch(text) or not RATE_LEAST <= float(text) <= RATE_MOST:
        raise LimitError(f"is {text}: expected {_RATE}, from {RATE_LEAST} to {RATE_MOST:,.0f}")
    return float(text)
