"""Whose name and password a copy uses, and what happens when they are refused."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageferry.config import load_text
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.auth import Basic, Bearer
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, outcomes, run

LARGE = bytes(range(256)) * 8192
USERS = {"anyone": "a", "team": "t", "robot$project+ci": "r$x"}


@pytest.fixture
def bearer() -> Bearer:
    """A user for the whole registry, one for a namespace, and one for a repository: each may do just that."""

    def grants(user: str | None, name: str) -> set[str]:
        owner = {"team/app": "robot$project+ci"}.get(name, "team" if name.startswith("team/") else "anyone")
        return {"pull", "push"} if user == owner else set()

    return Bearer(USERS, grants=grants)


@pytest.fixture
def registry(bearer: Bearer) -> Iterator[FakeRegistry]:
    """A registry with three owners of repositories."""
    with FakeRegistry(auth=bearer) as made:
        yield made


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("end", ["", "/"])
async def test_the_entry_with_the_longest_key_is_used(
    fake_source: FakeRegistry, registry: FakeRegistry, reverse: bool, end: str
) -> None:
    # image-syncer crashes on a key that is the whole repository, and takes any of those that match.
    fake_source.image("a/app", "v1")
    host = registry.host
    entries = [
        (f"{host}{end}", {"username": "anyone", "password": "a", "insecure": True}),
        (f"{host}/team{end}", {"username": "team", "password": "t", "insecure": True}),
        (f"{host}/team/app{end}", {"username": "robot$project+ci", "password": "r$x", "insecure": True}),
    ]
    auth = dict(reversed(entries) if reverse else entries)
    targets = [f"{host}/{name}" for name in ("team/app", "team/other", "team/app2/x", "teams/app", "app")]
    report = await run(configured({f"{fake_source.host}/a/app": targets}, fake_source, auth=auth))
    assert errors(report) == {}
    assert outcomes(report) == {f"{each}:v1": "copied" for each in targets}


async def test_a_refused_password_fails_its_destination_alone(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, registry: FakeRegistry, pauses: list[float]
) -> None:
    fake_source.image("a/app", "v1")
    auth = {registry.host: {"username": "anyone", "password": "wrong-one", "insecure": True}}
    targets = [f"{registry.host}/a/app", f"{fake_destination.host}/a/app"]
    text = configured({f"{fake_source.host}/a/app:v1": targets}, fake_source, fake_destination, auth=auth)
    report = await run(text)
    assert outcomes(report) == {f"{targets[0]}:v1": "failed", f"{targets[1]}:v1": "copied"}
    (words,) = errors(report).values()
    assert "username and password" in words
    assert "wrong-one" not in report.to_json()
    assert pauses == []


async def test_the_users_docker_config_is_used(fake_source: FakeRegistry, tmp_path: Path) -> None:
    fake_source.image("a/app", "v1")
    with FakeRegistry(auth=Basic({"ferry": "from docker"})) as destination:
        encoded = base64.b64encode(b"ferry:from docker").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {destination.host: {"auth": encoded}}}))
        # Over plain HTTP only where the entry says so; this one is for its name and password alone.
        text = configured({f"{fake_source.host}/a/app:v1": f"{destination.host}/a/app"}, fake_source)
        configuration = load_text(text, "config.json", environment={})
        async with Engine(
            configuration, Options(), mover=BlobMove.run, environment={"DOCKER_CONFIG": str(tmp_path)}
        ) as engine:
            await engine.plan(configuration.rules[0])
            words = errors(engine.outcomes.report())
        assert "insecure: true" in words[f"{destination.host}/a/app:v1"]
        assert len(destination.log) == 0


async def test_a_credential_helper_that_fails_costs_its_destination_alone(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, tmp_path: Path
) -> None:
    for tag in ("v1", "v2"):
        fake_source.image("a/app", tag)
    content = {"credHelpers": {"registry.invalid": "no-such-helper-here"}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    targets = ["registry.invalid/a/app", f"{fake_destination.host}/a/app"]
    text = configured({f"{fake_source.host}/a/app": targets}, fake_source, fake_destination)
    configuration = load_text(text, "config.json", environment={})
    async with Engine(
        configuration, Options(), mover=BlobMove.run, environment={"DOCKER_CONFIG": str(tmp_path)}
    ) as engine:
        for job in await engine.plan(configuration.rules[0]):
            await engine.copy(job)
        report = engine.outcomes.report()
    assert outcomes(report) == {
        **{f"{targets[0]}:{tag}": "failed" for tag in ("v1", "v2")},
        **{f"{targets[1]}:{tag}": "copied" for tag in ("v1", "v2")},
    }
    assert "no-such-helper-here" in errors(report)[f"{targets[0]}:v1"]


@pytest.mark.parametrize("kind", ["manifest-get", "blob-get", "upload-start", "upload-put", "manifest-put"])
async def test_tokens_that_expire_during_a_run_are_renewed(kind: str) -> None:
    bearers = [Bearer({"ferry": "secret"}), Bearer({"ferry": "secret"})]
    with FakeRegistry(auth=bearers[0]) as source, FakeRegistry(auth=bearers[1]) as destination:
        digest = source.image("a/app", "v1", [LARGE, b"small"])
        registries = [source, destination]
        for registry, bearer in zip(registries, bearers, strict=True):
            registry.rules.append(Fault(kind, actions.run_first(bearer.revoke_all), times=1))
        auth = {each.host: {"username": "ferry", "password": "secret", "insecure": True} for each in registries}
        # One blob at a time: a stream that is about to start with the old token is another test's.
        images = {f"{source.host}/a/app:v1": f"{destination.host}/a/app"}
        report = await run(configured(images, auth=auth), proc=1)
        assert errors(report) == {}
        assert destination.digest("a/app", "v1") == digest


async def test_a_token_that_expires_before_a_stream_is_sent_is_renewed(fake_source: FakeRegistry) -> None:
    digest = fake_source.image("a/app", "v1", [LARGE])
    bearer = Bearer({"ferry": "secret"})
    with FakeRegistry(auth=bearer) as destination:
        destination.rules.append(Fault("upload-patch", actions.run_first(bearer.revoke_all), times=1))
        auth = {destination.host: {"username": "ferry", "password": "secret", "insecure": True}}
        images = {f"{fake_source.host}/a/app:v1": f"{destination.host}/a/app"}
        assert errors(await run(configured(images, fake_source, auth=auth))) == {}
        assert destination.digest("a/app", "v1") == digest
        assert destination.blob("a/app", sha256(LARGE)) == LARGE
