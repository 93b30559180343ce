"""The part of Quay's API by which a namespace and its tags are listed."""

from dataclasses import dataclass, field
from typing import Any

from testkit.registries.exchange import Call, Reply
from testkit.registries.vendor_apis import VendorApi, as_json, page_of, password_of

DIGEST = "sha256:" + "ab" * 32


@dataclass
class QuayApi(VendorApi):
    """Repositories by `namespace/name`, each with its tags. `private` ones are for the token alone."""

    repositories: dict[str, list[str]] = field(default_factory=dict)
    private: frozenset[str] = frozenset()
    token: str = "token-of-an-application"
    page: int = 100

    def __post_init__(self) -> None:
        super().__init__()

    async def answer(self, call: Call) -> Reply:
        """Answer a request."""
        if call.kind == "ping":
            return as_json({})
        known = password_of(call)
        if known not in ("", self.token):
            return as_json({"error_message": "invalid_token", "title": "invalid_token"}, status=401)
        if call.path == "/api/v1/repository":
            return self._repositories(call, known)
        path = call.path.removeprefix("/api/v1/repository/").removesuffix("/tag/")
        if path not in self.repositories or (path in self.private and not known):
            return as_json({"title": "not_found", "detail": "Not Found", "status": 404}, status=404)
        tags, number = page_of(call, [_tag(name) for name in self.repositories[path]], "limit")
        more = number * int(call.query("limit") or 50) < len(self.repositories[path])
        return as_json({"tags": tags, "page": number, "has_additional": more})

    def _repositories(self, call: Call, known: str) -> Reply:
        own = [path for path in self.repositories if path.startswith(f"{call.query('namespace')}/")]
        entries = [_repository(path) for path in own if known or path not in self.private]
        begin = int(call.query("next_page") or 0)
        end = begin + self.page
        more = {"next_page": str(end)} if end < len(entries) else {}
        return as_json({"repositories": entries[begin:end]} | more)


def _repository(path: str) -> dict[str, Any]:
    namespace, _, name = path.partition("/")
    kind = "application" if name.startswith("chart") else "image"
    made = {"namespace": namespace, "name": name, "description": None, "is_public": True, "kind": kind}
    return made | {"state": "NORMAL", "last_modified": 1714979289}


def _tag(name: str) -> dict[str, Any]:
    dates = {"start_ts": 1714979289, "last_modified": "Mon, 06 May 2024 07:08:09 -0000"}
    return {
        "name": name,
        "reversion": False,
        "manifest_digest": DIGEST,
        "is_manifest_list": False,
        "size": 4096,
    } | dates
