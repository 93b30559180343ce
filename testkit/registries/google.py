"""The way in which Google's registries list: `tags/list` names what is below a path, and all manifests there."""

from dataclasses import dataclass, field
from typing import Any

from testkit.registries.exchange import Call, Reply, error
from testkit.registries.vendor_apis import VendorApi, as_json

DIGEST = "sha256:" + "ab" * 32


@dataclass
class GoogleRegistry(VendorApi):
    """Repositories by path, each with its tags; a token for each path is wanted."""

    repositories: dict[str, list[str]] = field(default_factory=dict)
    page: int | None = None
    """The most tags of one answer."""

    def __post_init__(self) -> None:
        super().__init__()

    async def answer(self, call: Call) -> Reply:
        """Answer a request."""
        if call.kind == "token":
            return as_json({"token": (call.query("scope") or "nothing").replace(":", "-").replace("/", "-")})
        if call.kind == "ping":
            return as_json({})
        path = call.repository
        if call.header("authorization") != f"Bearer repository-{path.replace('/', '-')}-pull":
            challenge = f'Bearer realm="{self.url}/token",service="here",scope="repository:{path}:pull"'
            return error(401, "UNAUTHORIZED", "", {"WWW-Authenticate": challenge})
        below = [name[len(path) + 1 :] for name in self.repositories if name.startswith(f"{path}/")]
        if call.kind != "tags" or (path not in self.repositories and not below):
            return error(404, "NAME_UNKNOWN")
        tags = self.repositories.get(path, [])
        begin = int(call.query("page") or 0)
        end = len(tags) if self.page is None else begin + self.page
        children = sorted({name.partition("/")[0] for name in below}) if not begin else []
        document = {"child": children, "manifest": _manifests(tags[begin:end]), "name": path, "tags": tags[begin:end]}
        link = {"Link": f'<{call.path}?page={end}>; rel="next"'} if end < len(tags) else {}
        return as_json(document, link)


def _manifests(tags: list[str]) -> dict[str, Any]:
    """Make the manifests of the tags, the first two of which name one, and one that has no tag."""
    if not tags:
        return {}
    dates = {"timeCreatedMs": "0", "timeUploadedMs": "1714979289123"}
    entry = {"imageSizeBytes": "4096", "layerId": "", "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    made = {DIGEST: entry | dates | {"tag": tags[:2]}, DIGEST.replace("ab", "ef"): entry | dates | {"tag": []}}
    return made | {f"sha256:{number:064x}": entry | dates | {"tag": [tag]} for number, tag in enumerate(tags[2:])}
