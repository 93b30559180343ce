"""What a registry was asked: one entry a request, each with its kind."""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

KINDS = (
    "ping",
    "token",
    "tags",
    "manifest-head",
    "manifest-get",
    "manifest-put",
    "blob-head",
    "blob-get",
    "upload-start",
    "mount",
    "upload-patch",
    "upload-put",
    "upload-status",
    "upload-cancel",
    "other",
)

ROUTES = (
    (re.compile(r"^/v2/?$"), "ping"),
    (re.compile(r"^/v2/(?P<name>.+)/tags/list$"), "tags"),
    (re.compile(r"^/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)$"), "manifest"),
    (re.compile(r"^/v2/(?P<name>.+)/blobs/uploads/?$"), "uploads"),
    (re.compile(r"^/v2/(?P<name>.+)/blobs/uploads/(?P<reference>[^/]+)$"), "session"),
    (re.compile(r"^/v2/(?P<name>.+)/blobs/(?P<reference>[^/]+)$"), "blob"),
    (re.compile(r"^/token$"), "token"),
)

_KIND_OF = {
    ("GET", "ping"): "ping",
    ("HEAD", "ping"): "ping",
    ("GET", "token"): "token",
    ("POST", "token"): "token",
    ("GET", "tags"): "tags",
    ("HEAD", "manifest"): "manifest-head",
    ("GET", "manifest"): "manifest-get",
    ("PUT", "manifest"): "manifest-put",
    ("HEAD", "blob"): "blob-head",
    ("GET", "blob"): "blob-get",
    ("POST", "uploads"): "upload-start",
    ("PATCH", "session"): "upload-patch",
    ("PUT", "session"): "upload-put",
    ("GET", "session"): "upload-status",
    ("DELETE", "session"): "upload-cancel",
}


@dataclass(frozen=True)
class Route:
    """The place a path names: a sort of resource, its repository and its tag, digest or session."""

    resource: str
    repository: str = ""
    reference: str = ""


def route_of(path: str) -> Route:
    """Find the resource that a path names."""
    for pattern, resource in ROUTES:
        if match := pattern.match(path):
            parts = match.groupdict()
            return Route(resource, parts.get("name", ""), parts.get("reference", ""))
    return Route("other")


def kind_of(method: str, path: str, queries: Iterable[str] = ()) -> str:
    """Name the kind of a request; `queries` are the names of its query's parameters."""
    kind = _KIND_OF.get((method, route_of(path).resource), "other")
    return "mount" if kind == "upload-start" and "mount" in queries else kind


@dataclass
class Entry:
    """One request and its answer. `status` is 0 where the connection was ended without one."""

    method: str
    path: str
    kind: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0
    query: dict[str, list[str]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def repository(self) -> str:
        """The repository that was asked for, or an empty string."""
        return route_of(self.path).repository

    @property
    def authorization(self) -> str | None:
        """The Authorization header that came with the request."""
        return self.headers.get("authorization")


class Log:
    """A list of entries in the order the requests came in, safe to read from another thread."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def append(self, entry: Entry) -> None:
        """Add one entry."""
        with self._lock:
            self._entries.append(entry)

    def clear(self) -> None:
        """Forget all entries."""
        with self._lock:
            self._entries.clear()

    def entries(self, *kinds: str) -> list[Entry]:
        """List the entries of some kinds, or all."""
        with self._lock:
            return [entry for entry in self._entries if not kinds or entry.kind in kinds]

    def counts(self) -> dict[str, int]:
        """How many requests of each kind came in; a kind that was not asked for is not there."""
        return dict(Counter(entry.kind for entry in self.entries()))

    def peak(self, *kinds: str) -> int:
        """The most requests of some kinds that were under way at one time."""
        moments: list[tuple[float, int]] = []
        for entry in self.entries(*kinds):
            moments.append((entry.started, 1))
            if entry.ended is not None:
                moments.append((entry.ended, -1))
        peak = under_way = 0
        for _, step in sorted(moments):
            under_way += step
            peak = max(peak, under_way)
        return peak

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries())

    def __len__(self) -> int:
        return len(self.entries())

    def __getitem__(self, position: int) -> Entry:
        return self.entries()[position]
