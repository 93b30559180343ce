"""The part of Docker Hub's API by which a namespace and its tags are listed."""

import json
from dataclasses import dataclass, field
from typing import Any

from testkit.registries.exchange import Call, Reply
from testkit.registries.vendor_apis import VendorApi, as_json, page_of, password_of

TOKEN = "token-of-docker-hub"
DIGEST = "sha256:" + "ab" * 32


def hub_tag(name: str, digest: str | None = DIGEST) -> dict[str, Any]:
    """Make a tag as Docker Hub lists it."""
    dates = {"last_updated": "2024-05-06T07:08:09.123456Z", "tag_last_pushed": "2024-05-06T07:08:09.123456Z"}
    return {"id": 1, "name": name, "full_size": 4096, "digest": digest, "images": [], "tag_status": "active", **dates}


@dataclass
class DockerHubApi(VendorApi):
    """Namespaces, each with its repositories. `private` ones (`namespace/name`) are for the login alone."""

    namespaces: dict[str, list[str]] = field(default_factory=dict)
    repository_tags: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    private: frozenset[str] = frozenset()
    login: tuple[str, str] = ("ferry", "secret-of-hub")

    def __post_init__(self) -> None:
        super().__init__()

    async def answer(self, call: Call) -> Reply:
        """Answer a request."""
        if call.kind == "ping":
            return as_json({"message": "object not found"}, status=404)
        if call.path == "/v2/auth/token":
            given = json.loads(await call.body())
            if (given["identifier"], given["secret"]) != self.login:
                return as_json({"detail": "Incorrect authentication credentials"}, status=401)
            return as_json({"access_token": TOKEN})
        known = password_of(call)
        if known not in ("", TOKEN):
            return as_json({"message": "unauthorized"}, status=401)
        namespace, *rest = call.path.removeprefix("/v2/repositories/").strip("/").split("/")
        if rest:
            tags = self.repository_tags.get("/".join([namespace, rest[0]]))
            return as_json({"message": "object not found"}, status=404) if tags is None else self._page(call, tags)
        if namespace not in self.namespaces:
            return as_json({"message": "object not found"}, status=404)
        names = [name for name in self.namespaces[namespace] if known or f"{namespace}/{name}" not in self.private]
        return self._page(call, [_repository(namespace, name) for name in names])

    def _page(self, call: Call, entries: list[dict[str, Any]]) -> Reply:
        page, number = page_of(call, entries, "page_size")
        more = number * int(call.query("page_size") or 10) < len(entries)
        url = f"{self.url}{call.path}?page={number + 1}&page_size={call.query('page_size')}"
        return as_json({"count": len(entries), "next": url if more else None, "previous": None, "results": page})


def _repository(namespace: str, name: str) -> dict[str, Any]:
    dates = {"last_updated": "2024-05-06T07:08:09.123456Z", "date_registered": "2020-01-01T00:00:00Z"}
    return {"name": name, "namespace": namespace, "repository_type": "image", "is_private": False, **dates}
