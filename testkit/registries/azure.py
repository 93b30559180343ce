"""The part of an Azure container registry's API by which tags are listed."""

from dataclasses import dataclass, field

from testkit.registries.catalogs import CatalogRegistry, CatalogWays
from testkit.registries.exchange import Call, Reply, error
from testkit.registries.vendor_apis import as_json

DIGEST = "sha256:" + "ab" * 32


@dataclass
class AzureApi(CatalogRegistry):
    """Repositories, each with its tags."""

    repositories: dict[str, list[str]] = field(default_factory=dict)
    page: int = 100
    links: bool = True

    def __post_init__(self) -> None:
        super().__init__(CatalogWays([*self.repositories]), "/acr/v1/_catalog")

    async def answer(self, call: Call) -> Reply:
        """Answer a request."""
        if not call.path.endswith("/_tags"):
            return await super().answer(call)
        name = call.path.removeprefix("/acr/v1/").removesuffix("/_tags")
        if name not in self.repositories:
            return error(404, "NAME_UNKNOWN")
        tags, last = self.repositories[name], call.query("last")
        begin = tags.index(last) + 1 if last in tags else 0
        page = tags[begin : begin + self.page]
        more = self.links and begin + self.page < len(tags)
        link = {"Link": f'<{call.path}?last={page[-1]}&n={self.page}&orderby=>; rel="next"'} if more else {}
        dates = {"createdTime": "2020-01-01T00:00:00Z", "lastUpdateTime": "2024-05-06T07:08:09.1234567Z"}
        entries = [{"name": tag, "digest": DIGEST, "signed": False} | dates for tag in page]
        return as_json({"registry": "team.azurecr.io", "imageName": name, "tags": entries}, link)
