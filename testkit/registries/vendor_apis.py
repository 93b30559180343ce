"""What the fakes of vendors' APIs share: answers in JSON, and pages by number.

Their shapes are those of the vendors' documents and clients; none was recorded from a real one.
"""

import json
from base64 import b64decode
from typing import Any

from testkit.registries.exchange import Call, Reply
from testkit.registries.server import Host


class VendorApi(Host):
    """A host with a vendor's API; `rules` break its answers."""

    @property
    def paths(self) -> list[str]:
        """What was asked for but for the ping, in order."""
        return [entry.path for entry in self.log if entry.kind != "ping"]


def as_json(document: object, headers: dict[str, str] | None = None, status: int = 200) -> Reply:
    """Make an answer in JSON."""
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(document).encode())


def page_of(call: Call, entries: list[dict[str, Any]], size_name: str) -> tuple[list[dict[str, Any]], int]:
    """Return the page of the entries that a query asks for by number, and its number."""
    size, number = int(call.query(size_name) or 10), int(call.query("page") or 1)
    return entries[(number - 1) * size : number * size], number


def password_of(call: Call) -> str:
    """Return the password of a request with `Basic`, with the name before it; or its token; or nothing."""
    scheme, _, rest = (call.header("authorization") or "").partition(" ")
    return b64decode(rest).decode() if scheme == "Basic" else rest
