"""A registry that has nothing but a catalog, and lists it in one of the ways of the field."""

import json
from dataclasses import dataclass, field
from typing import Literal

from testkit.registries.exchange import Call, Reply, error
from testkit.registries.server import Host

Link = Literal["relative", "absolute", "other-host", "other-path", "none", "loop"]


@dataclass
class CatalogWays:
    """How a registry lists its repositories. The defaults are distribution's."""

    names: list[object] = field(default_factory=list)
    most: int | None = None
    """Answer 400 PAGINATION_NUMBER_INVALID to an `n` above this."""
    cap: int | None = None
    """The most names on one page, whatever `n` asks for."""
    link: Link = "relative"
    """What the Link to the next page looks like; none: pages are had by `last` alone."""
    other_host: str = "elsewhere.example"
    ignores_last: bool = False
    ignores_n: bool = False
    bearer: bool = False
    """Want a token for the scope `registry:catalog:*`."""


class CatalogRegistry(Host):
    """Serves `/v2/_catalog`, or a catalog at another path."""

    def __init__(self, ways: CatalogWays | None = None, path: str = "/v2/_catalog") -> None:
        super().__init__()
        self.ways = ways or CatalogWays()
        self._path = path

    @property
    def listings(self) -> list[dict[str, str]]:
        """The queries of the requests for the catalog, in order."""
        asked = [entry for entry in self.log if entry.path == self._path]
        return [{name: values[0] for name, values in entry.query.items()} for entry in asked]

    async def answer(self, call: Call) -> Reply:
        """Answer a request."""
        if call.kind == "token":
            scopes = call.entry.query.get("scope", [])
            return _json({"token": "catalog" if scopes == ["registry:catalog:*"] else "other"})
        if self.ways.bearer and call.header("authorization") != "Bearer catalog":
            challenge = f'Bearer realm="{self.url}/token",service="here",scope="registry:catalog:*"'
            return error(401, "UNAUTHORIZED", "", {"WWW-Authenticate": challenge})
        if call.kind == "ping":
            return _json({})
        return self._catalog(call) if call.path == self._path else error(404, "UNSUPPORTED")

    def _catalog(self, call: Call) -> Reply:
        ways = self.ways
        given = call.query("n")
        number = len(ways.names) if given is None or ways.ignores_n else int(given)
        if ways.most is not None and given is not None and number > ways.most:
            return error(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
        number = min(each for each in (number, ways.cap, ways.most) if each is not None)
        last = None if ways.ignores_last else call.query("last")
        begin = ways.names.index(last) + 1 if last in ways.names else 0
        page = ways.names[begin : begin + number]
        more = begin + number < len(ways.names)
        headers = {"Link": self._link(number, page[-1])} if more and page and ways.link != "none" else {}
        return _json({"repositories": page}, headers)

    def _link(self, number: int, last: object) -> str:
        query = f"last={last}&n={number}"
        address = {
            "relative": f"{self._path}?{query}",
            "absolute": f"{self.url}{self._path}?{query}",
            "other-host": f"http://{self.ways.other_host}{self._path}?{query}",
            "other-path": f"http://{self.ways.other_host}/pages?{query}",
            "loop": f"{self._path}?n={number}",
        }[self.ways.link]
        return f'<{address}>; rel="next"'


def _json(document: object, headers: dict[str, str] | None = None) -> Reply:
    return Reply(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(document).encode())
