"""The part of GitLab's API by which repositories of groups and projects are listed, and its registry's challenge."""

from dataclasses import dataclass, field
from urllib.parse import unquote

from testkit.registries.exchange import Call, Reply
from testkit.registries.vendor_apis import VendorApi, as_json, page_of, password_of


@dataclass
class GitLabApi(VendorApi):
    """Projects, each with the paths of its repositories; all that is above a project is a group."""

    projects: dict[str, list[str]] = field(default_factory=dict)
    token: str = "glpat-token-of-gitlab"
    at: str = ""
    """What all paths of the API begin with."""

    def __post_init__(self) -> None:
        super().__init__()

    async def answer(self, call: Call) -> Reply:
        """Answer a request."""
        if call.kind == "ping":
            realm = f'Bearer realm="{self.url}{self.at}/jwt/auth",service="container_registry"'
            return as_json({}, {"WWW-Authenticate": realm}, 401)
        raw = call.request.scope["raw_path"].decode()
        if password_of(call) != self.token or not raw.startswith(f"{self.at}/api/v4/"):
            return as_json({"message": "401 Unauthorized"}, status=401)
        kind, owner = raw.removeprefix(f"{self.at}/api/v4/").split("/")[:2]
        name = unquote(owner)
        if kind == "projects":
            found = self.projects.get(name)
        else:
            below = [paths for project, paths in self.projects.items() if project.startswith(f"{name}/")]
            found = [path for paths in below for path in paths] if below else None
        if found is None:
            return as_json({"message": "404 Not Found"}, status=404)
        made = {"created_at": "2020-01-01T00:00:00Z", "project_id": 9, "cleanup_policy_started_at": None}
        entries = [{"id": number, "name": "", "path": path} | made for number, path in enumerate(found)]
        page, number = page_of(call, entries, "per_page")
        more = number * int(call.query("per_page") or 20) < len(entries)
        return as_json(page, {"X-Next-Page": str(number + 1) if more else "", "X-Total": str(len(entries))})
