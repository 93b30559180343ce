"""The classes of requests that registries count apart."""

from __future__ import annotations

from enum import IntEnum

import httpx

# An extension of a request, beside those of ``registry.http``. True: it can fail without harm, as a mount can, so that
# its failure says nothing of the host: set by RegistryClient, read by RequestLimiter.
OPTIONAL = "imageferry.optional"


class RequestClass(IntEnum):
    """By weight: a registry that refuses one class refuses the heavier ones. Docker Hub counts only pulls."""

    HEAD = 0
    OTHER = 1
    # A GET of a manifest.
    PULL = 2


def class_of(request: httpx.Request) -> RequestClass:
    """Return the class of a request."""
    if request.method == "HEAD":
        return RequestClass.HEAD
    return RequestClass.PULL if request.method == "GET" and "/manifests/" in request.url.path else RequestClass.OTHER
