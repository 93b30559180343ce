"""The part of GitHub's API by which packages of containers and their versions are listed."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from testkit.registries.exchange import Call, Reply
from testkit.registries.vendor_apis import VendorApi, as_json, page_of, password_of

DIGEST = "sha256:" + "ab" * 32


@dataclass
class GitHubApi(VendorApi):
    """Packages of organizations and users, each with the tags of its versions."""

    orgs: dict[str, dict[str, list[list[str]]]] = field(default_factory=dict)
    users: dict[str, dict[str, list[list[str]]]] = field(default_factory=dict)
    token: str = "ghp_token-of-github"

    def __post_init__(self) -> None:
        super().__init__()

    async def answer(self, call: Call) -> Reply:
        """Answer a request."""
        if call.kind == "ping":
            return as_json({"message": "Not Found"}, status=404)
        if password_of(call) != self.token:
            return as_json({"message": "Bad credentials"}, status=401)
        raw = call.request.scope["raw_path"].decode()
        _, kind, owner, _, *rest = raw.split("/")
        packages = {"orgs": self.orgs, "users": self.users}[kind].get(owner)
        name = unquote(rest[1]) if rest else ""
        if packages is None or (rest and name not in packages):
            return as_json({"message": "Not Found", "status": "404"}, status=404)
        entries = [_version(tags) for tags in packages[name]] if rest else list(map(_package, packages))
        page, number = page_of(call, entries, "per_page")
        size = int(call.query("per_page") or 30)
        query = "" if rest else "package_type=container&"
        link = f'<{self.url}{raw}?{query}per_page={size}&page={number + 1}>; rel="next"'
        return as_json(page, {"Link": link} if number * size < len(entries) else {})


def _package(name: str) -> dict[str, Any]:
    dates = {"created_at": "2020-01-01T00:00:00Z", "updated_at": "2024-05-06T07:08:09Z"}
    url = f"https://api.github.com/orgs/team/packages/container/{quote(name, safe='')}"
    return {"id": 1, "name": name, "package_type": "container", "visibility": "private", "url": url} | dates


def _version(tags: list[str]) -> dict[str, Any]:
    dates = {"created_at": "2020-01-01T00:00:00Z", "updated_at": "2024-05-06T07:08:09Z"}
    return {"id": 1, "name": DIGEST, "metadata": {"package_type": "container", "container": {"tags": tags}}} | dates
