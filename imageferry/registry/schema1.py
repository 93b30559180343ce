"""What the digest of a signed schema 1 manifest covers: its payload, which is the document without the signatures.

docker/distribution takes the digest of the payload that libtrust cuts out of the document, by two fields of the
signatures' own header: ``formatLength`` and ``formatTail``. The digest does not cover that header.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

# How libtrust appends the signatures to a payload, from the byte ``formatLength`` on.
_SIGNATURES = re.compile(r'\s*,\s*"signatures"\s*:\s*(?=\[)')


def signed_payload(body: bytes, document: Mapping[str, Any]) -> bytes | None:
    """Return the payload of a signed schema 1 manifest; None for any other document. ``document`` is that of ``body``.

    A header is believed only where it cuts off the signatures and nothing else, so that the payload says all that the
    document says: a forged one could make any bytes the payload of any document.
    """
    try:
        if document["schemaVersion"] != 1 or not isinstance(document["fsLayers"], list):
            return None
        headers = [json.loads(_decode_unpadded(each["protected"])) for each in document["signatures"]]
        ((length, tail),) = {(header["formatLength"], header["formatTail"]) for header in headers}
        closing = _decode_unpadded(tail)
        if not isinstance(length, int) or length <= 0 or closing.strip() != b"}":
            return None
        return body[:length] + closing if _is_signatures(body[length:].decode()) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_signatures(rest: str) -> bool:
    """Return whether this is a document's last member, the signatures, and its end."""
    begins = _SIGNATURES.match(rest)
    if begins is None:
        return False
    _, end = json.JSONDecoder().raw_decode(rest, begins.end())
    return rest[end:].strip() == "}"


def _decode_unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
