"""The part of Amazon's API by which the repositories of ECR are listed; botocore itself asks it."""

import json
from dataclasses import dataclass, field
from typing import Any

from testkit.registries.exchange import Call, Reply
from testkit.registries.vendor_apis import VendorApi, as_json

ACCOUNT = "123456789012"
DIGEST = "sha256:" + "ab" * 32


@dataclass
class AmazonApi(VendorApi):
    """Repositories, each with its images: tags, of which there may be none."""

    repositories: dict[str, list[list[str]]] = field(default_factory=dict)
    cap: int = 1000
    """The most entries on one page, whatever is asked for."""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """The actions that were asked for, with what they were given."""
    loops: bool = False
    """Give the same token with each page."""

    def __post_init__(self) -> None:
        super().__init__()

    async def answer(self, call: Call) -> Reply:
        """Answer a request."""
        action = (call.header("x-amz-target") or "").partition(".")[2]
        given = json.loads(await call.body())
        self.asked.append((action, given))
        if given["registryId"] != ACCOUNT:
            return _refused("AccessDeniedException")
        if action == "DescribeRepositories":
            made: list[dict[str, Any]] = [
                {"repositoryName": name, "registryId": ACCOUNT, "createdAt": 1714979289.0} for name in self.repositories
            ]
            return self._page(given, "repositories", made)
        images = self.repositories.get(given["repositoryName"])
        if images is None:
            return _refused("RepositoryNotFoundException")
        detail = {"imageDigest": DIGEST, "imageSizeInBytes": 4096, "imagePushedAt": 1714979289.5}
        tagged_only = given.get("filter") == {"tagStatus": "TAGGED"}
        made = [detail | ({"imageTags": tags} if tags else {}) for tags in images if tags or not tagged_only]
        return self._page(given, "imageDetails", made)

    def _page(self, given: dict[str, Any], key: str, entries: list[dict[str, Any]]) -> Reply:
        begin = int(given.get("nextToken", 0))
        end = begin + min(self.cap, given.get("maxResults", 100))
        more = {"nextToken": "0" if self.loops else str(end)} if end < len(entries) else {}
        return as_json({key: entries[begin:end]} | more)


def _refused(code: str) -> Reply:
    return as_json({"__type": code, "message": "no"}, status=400)
