"""In which order the sources of credentials are asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from imageferry.credentials.credential_helper import CredentialHelperError
from imageferry.credentials.keychain import Keychain, default_keychain
from imageferry.model import Configuration, RegistryAccess


def login(name: str) -> RegistryAccess:
    return RegistryAccess(username=SecretStr(name), password=SecretStr("p"))


class Source:
    """A source that knows one registry, and counts how often it is asked."""

    def __init__(self, registry: str, access: RegistryAccess) -> None:
        self.registry, self.access = registry, access
        self.asked: list[tuple[str, str]] = []

    async def access_to(self, registry: str, repository: str) -> RegistryAccess | None:
        self.asked.append((registry, repository))
        return self.access if registry == self.registry else None


class Failing:
    async def access_to(self, registry: str, repository: str) -> RegistryAccess | None:
        raise CredentialHelperError(f"no helper for {registry}")


async def test_the_first_source_that_knows_the_registry_counts() -> None:
    first, second, third = (
        Source("a.example", login("1")),
        Source("b.example", login("2")),
        Source("b.example", login("3")),
    )
    keychain = Keychain(first, second, third)
    assert await keychain.access_to("b.example", "team/app") == login("2")
    assert (first.asked, second.asked, third.asked) == ([("b.example", "team/app")], [("b.example", "team/app")], [])


async def test_a_registry_that_no_source_knows_is_accessed_anonymously() -> None:
    assert await Keychain(Source("a.example", login("1"))).access_to("b.example", "app") is None
    assert await Keychain().access_to("b.example", "app") is None


async def test_a_source_that_fails_is_not_passed_over() -> None:
    last = Source("a.example", login("1"))
    with pytest.raises(CredentialHelperError, match=r"no helper for a\.example"):
        await Keychain(Failing(), last).access_to("a.example", "app")
    assert last.asked == []


async def test_keychains_can_be_nested() -> None:
    inner = Keychain(Source("a.example", login("1")))
    assert await Keychain(Keychain(), inner).access_to("a.example", "app") == login("1")


async def test_the_configuration_counts_before_dockers_files(tmp_path: Path) -> None:
    auths = {name: {"username": "docker", "password": "p"} for name in ("a.example", "b.example")}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    configuration = Configuration({"a.example/team": login("configured")}, ())
    keychain = default_keychain(configuration, {"DOCKER_CONFIG": str(tmp_path)})
    assert await keychain.access_to("a.example", "team/app") == login("configured")
    assert await keychain.access_to("a.example", "other/app") == login("docker")
    assert await keychain.access_to("b.example", "team/app") == login("docker")
    assert await keychain.access_to("c.example", "team/app") is None
