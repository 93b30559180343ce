"""One request to a registry, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import httpx

from imageferry.registry.errors import ERROR_BODY_LIMIT


class RegistryRequest(NamedTuple):
    """What is asked of a registry: see ``RegistryClient.send``."""

    method: str
    # An absolute path at the registry, or a whole URL.
    path: str | httpx.URL
    # What it is for, as an error says it: "read manifest quay.io/a/b:v1".
    action: str
    headers: Mapping[str, str] | None = None
    # A stream can be sent only once.
    content: bytes | httpx.AsyncByteStream | None = None
    # The most bytes of the answer that are read.
    limit: int = ERROR_BODY_LIMIT
    # Send it once, whatever the answer.
    no_retry: bool = False
    # It may fail without harm, so that its failure says nothing of the registry.
    optional: bool = False
    # A write of which a redirect to another host is followed: an upload session may be anywhere.
    may_move: bool = False
