"""Amazon ECR: repositories are not made on push, so Amazon's API is asked to, where the user wants it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from testkit.registries.inprocess import FakeRegistry
from testkit.registries.proxy import Proxy, running
from testkit.registries.quirks import Quirks
from tests.copy.running import configured, errors, outcomes, run

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"

# What the API answers to the name of a repository: a status and a body.
Answer = Callable[[str], tuple[int, dict[str, object]]]


@contextmanager
def amazon(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> Iterator[list[str]]:
    """Run Amazon's API for one action; give what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            target = self.headers["X-Amz-Target"].partition(".")[2]
            signed_for = self.headers["Authorization"].partition("Credential=")[2].split("/")[2:4]
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(f"{target} {given['repositoryName']} of {given['registryId']} in {'/'.join(signed_for)}")
            status, document = answer(given["repositoryName"])
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield asked
        server.shutdown()


@pytest.fixture
def ecr() -> Iterator[FakeRegistry]:
    """A registry that makes no repository on push."""
    with FakeRegistry(Quirks(create_on_push=False)) as registry:
        yield registry


def copying(source: FakeRegistry, proxy: Proxy, *, create: bool) -> str:
    """Write a configuration that copies two tags to ECR, which the proxy stands for."""
    auth = {HOST: {"insecure": True, "proxy": proxy.url}}
    registries = {HOST: {"create_repositories": True}} if create else {}
    return configured({f"{source.host}/a/app": f"{HOST}/team/app"}, source, auth=auth, registries=registries)


@pytest.fixture
def two_tags(fake_source: FakeRegistry) -> FakeRegistry:
    """A source with two tags."""
    for tag in ("v1", "v2"):
        fake_source.image("a/app", tag, [tag.encode()])
    return fake_source


async def test_the_repository_is_created_once(
    monkeypatch: pytest.MonkeyPatch, two_tags: FakeRegistry, ecr: FakeRegistry
) -> None:
    def create(name: str) -> tuple[int, dict[str, object]]:
        ecr.storage.repository(name)
        return 200, {"repository": {"repositoryName": name}}

    with amazon(monkeypatch, create) as asked:
        async with running({HOST: ecr.host, f"{HOST}:80": ecr.host, f"{HOST}:443": ecr.host}) as proxy:
            assert set(outcomes(await run(copying(two_tags, proxy, create=True))).values()) == {"copied"}
    assert asked == ["CreateRepository team/app of 123456789012 in eu-west-1/ecr"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AccessDeniedException", "Amazon's API answered AccessDeniedException: no; the AWS credentials must allow"),
        # Somebody else was faster; here the registry does not know of it all the same.
        ("RepositoryAlreadyExistsException", "its repository or project must be created there first"),
    ],
)
async def test_a_repository_that_cannot_be_created_is_an_error(
    monkeypatch: pytest.MonkeyPatch, two_tags: FakeRegistry, ecr: FakeRegistry, code: str, expected: str
) -> None:
    with amazon(monkeypatch, lambda name: (400, {"__type": code, "message": "no"})) as asked:
        async with running({HOST: ecr.host, f"{HOST}:80": ecr.host, f"{HOST}:443": ecr.host}) as proxy:
            failed = errors(await run(copying(two_tags, proxy, create=True)))
    assert len(asked) == 1
    assert len(failed) == 2
    assert all(expected in words for words in failed.values())


async def test_nothing_is_created_unasked(
    monkeypatch: pytest.MonkeyPatch, two_tags: FakeRegistry, ecr: FakeRegistry
) -> None:
    with amazon(monkeypatch, lambda name: (200, {})) as asked:
        async with running({HOST: ecr.host, f"{HOST}:80": ecr.host, f"{HOST}:443": ecr.host}) as proxy:
            failed = errors(await run(copying(two_tags, proxy, create=False)))
    assert asked == []
    assert all("must be created there first" in words for words in failed.values())
