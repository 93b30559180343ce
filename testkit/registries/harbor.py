"""The part of Harbor's API 2.0 by which repositories and their tags are listed."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from testkit.registries.exchange import Call, Reply
from testkit.registries.vendor_apis import VendorApi, as_json, page_of, password_of

DIGEST = "sha256:" + "ab" * 32


def artifact(tags: list[str] | None, digest: str = DIGEST) -> dict[str, Any]:
    """Make an artifact as Harbor lists it."""
    made = [{"name": tag, "push_time": "2024-05-06T07:08:09.123Z", "immutable": False} for tag in tags or []]
    return {"type": "IMAGE", "digest": digest, "size": 4096, "tags": made or None, "push_time": "2024-05-06T07:08:09Z"}


@dataclass
class HarborApi(VendorApi):
    """Projects, each with its repositories. `private` ones are for the login (`name:password`) alone."""

    projects: dict[str, list[str]] = field(default_factory=dict)
    artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    private: frozenset[str] = frozenset()
    login: str = "robot$team+ferry:secret-of-harbor"

    def __post_init__(self) -> None:
        super().__init__()

    async def answer(self, call: Call) -> Reply:
        """Answer a request."""
        if call.kind == "ping":
            challenge = f'Bearer realm="{self.url}/service/token",service="harbor-registry"'
            return as_json({}, {"WWW-Authenticate": challenge}, 401)
        if call.path == "/service/token":
            return as_json({"token": "of-nobody"})
        known = password_of(call)
        if known and known != self.login:
            return _refused(401, "UNAUTHORIZED", "unauthorized")
        parts = call.path.removeprefix("/api/v2.0/projects").split("/")[1:]
        if not parts:
            names = [name for name in self.projects if known or name not in self.private]
            return _page(call, [{"project_id": number, "name": name} for number, name in enumerate(names)])
        project, *rest = parts
        if project not in self.projects:
            return _refused(404, "NOT_FOUND", f"project {project} not found")
        if project in self.private and not known:
            return _refused(401, "UNAUTHORIZED", "unauthorized: unauthorized")
        if len(rest) == 1:
            return _page(call, [_repository(f"{project}/{name}") for name in self.projects[project]])
        found = self.artifacts.get(f"{project}/{unquote(rest[1])}")
        return _refused(404, "NOT_FOUND", "repository not found") if found is None else _page(call, found)


def _repository(path: str) -> dict[str, Any]:
    return {"id": 1, "name": path, "project_id": 1, "artifact_count": 1, "update_time": "2024-05-06T07:08:09.123Z"}


def _page(call: Call, entries: list[dict[str, Any]]) -> Reply:
    page, _ = page_of(call, entries, "page_size")
    return as_json(page, {"X-Total-Count": str(len(entries))})


def _refused(status: int, code: str, message: str) -> Reply:
    return as_json({"errors": [{"code": code, "message": message}]}, status=status)
