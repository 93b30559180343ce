"""How one registry gives its blobs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class BlobDialect:
    """How one registry, with the stores and proxies that it leads to, gives blobs, as far as is known."""

    # It goes on in the middle of a blob; one that does not gives blobs from their start, or refuses.
    ranges: bool = True
    # A Content-Encoding of its answers is a proxy's, which is undone; or that of what is stored, which is kept.
    decoded: bool = False
