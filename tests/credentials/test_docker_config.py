"""Credentials from docker's and podman's files and from their helpers."""

from __future__ import annotations

import base64
import json
import os
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from imageferry.credentials import credential_helper, docker_config
from imageferry.credentials.credential_helper import CredentialHelperError
from imageferry.credentials.docker_config import DockerCredentials
from imageferry.model import RegistryAccess

SECRET = "hunter2"


def basic(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


class Home:
    """A user's files and programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.asked = folder / "asked"
        self.environment = {"HOME": str(folder), "PATH": f"{self.bin}:{os.defpath}"}

    def config(self, content: Any, path: str = ".docker/config.json") -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))

    def helper(self, name: str, answer: Any, status: int = 0) -> None:
        """A program that notes what it was asked and answers always the same."""
        text = answer if isinstance(answer, str) else json.dumps(answer)
        note = f'echo "$1 $(cat)" >> {shlex.quote(str(self.asked))}'
        self.script(name, f"{note}\nprintf %s {shlex.quote(text)}\necho {SECRET} >&2\nexit {status}")

    def script(self, name: str, lines: str) -> None:
        path = self.bin / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)

    async def known(self, registry: str, repository: str = "team/app") -> tuple[str | None, ...] | None:
        access = await DockerCredentials(self.environment).access_to(registry, repository)
        return None if access is None else secrets_of(access)


def secrets_of(access: RegistryAccess) -> tuple[str | None, ...]:
    three = (access.username, access.password, access.identity_token)
    return tuple(None if each is None else each.get_secret_value() for each in three)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(docker_config, "RUNTIME_FOLDER", tmp_path / "no-runtime-folder")
    return Home(tmp_path)


class TestFiles:
    async def test_without_files_nothing_is_known(self, home: Home) -> None:
        assert await home.known("quay.io") is None
        assert await DockerCredentials({}).access_to("quay.io", "a") is None

    @pytest.mark.parametrize(
        "content", ["", "{", "[]", "null", '{"auths": []}', '{"auths": {"quay.io": 1}}', "[" * 9999]
    )
    async def test_a_file_that_cannot_be_read_is_skipped(self, home: Home, content: str) -> None:
        home.config(content)
        assert await home.known("quay.io") is None

    async def test_the_files_in_their_order_of_precedence(self, home: Home) -> None:
        runtime, named = home.folder / "run", home.folder / "named.json"
        home.environment["XDG_RUNTIME_DIR"] = str(runtime)
        home.config({"auths": {"quay.io": basic("podman", "p")}}, "run/containers/auth.json")
        assert await home.known("quay.io") == ("podman", "p", None)
        home.config({"auths": {"quay.io": basic("docker", "p")}})
        assert await home.known("quay.io") == ("docker", "p", None)
        home.config({"auths": {"quay.io": basic("folder", "p")}}, "elsewhere/config.json")
        home.environment["DOCKER_CONFIG"] = str(home.folder / "elsewhere")
        assert await home.known("quay.io") == ("folder", "p", None)
        home.config({"auths": {"quay.io": basic("named", "p")}}, named.name)
        home.environment["REGISTRY_AUTH_FILE"] = str(named)
        assert await home.known("quay.io") == ("named", "p", None)

    async def test_the_next_file_is_asked_for_what_one_does_not_know(self, home: Home) -> None:
        home.environment["XDG_RUNTIME_DIR"] = str(home.folder)
        home.config({"auths": {"quay.io": {}}})
        home.config({"auths": {"quay.io": basic("u", "p")}}, "containers/auth.json")
        assert await home.known("quay.io") == ("u", "p", None)

    async def test_podmans_files_come_after_dockers_in_podmans_order(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(docker_config, "RUNTIME_FOLDER", home.folder / "run" / "containers")
        home.config({"auths": {"quay.io": basic("lasting", "p")}}, ".config/containers/auth.json")
        assert await home.known("quay.io") == ("lasting", "p", None)
        home.environment["XDG_CONFIG_HOME"] = str(home.folder / "settings")
        assert await home.known("quay.io") is None
        home.config({"auths": {"quay.io": basic("settings", "p")}}, "settings/containers/auth.json")
        assert await home.known("quay.io") == ("settings", "p", None)
        home.config({"auths": {"quay.io": basic("uid", "p")}}, f"run/containers/{os.getuid()}/auth.json")
        assert await home.known("quay.io") == ("uid", "p", None)
        home.environment["XDG_RUNTIME_DIR"] = str(home.folder / "session")
        home.config({"auths": {"quay.io": basic("session", "p")}}, "session/containers/auth.json")
        assert await home.known("quay.io") == ("session", "p", None)
        home.config({"auths": {"quay.io": basic("docker", "p")}})
        assert await home.known("quay.io") == ("docker", "p", None)
        # What one file does not know, the next may.
        home.config({"auths": {"other.example": basic("more", "p")}}, "settings/containers/auth.json")
        assert await home.known("other.example") == ("more", "p", None)


class TestEntries:
    @pytest.mark.parametrize(
        ("entry", "known"),
        [
            (basic("u", "p:q"), ("u", "p:q", None)),
            (basic("u", "p\0\0"), ("u", "p", None)),
            ({"username": "u", "password": "p"}, ("u", "p", None)),
            ({**basic("<token>", ""), "identitytoken": "t"}, (None, None, "t")),
            ({"auth": "not base64!"}, None),
            ({"auth": base64.b64encode(b"nothing").decode()}, None),
            ({"auth": base64.b64encode(b"\xff:\xff").decode()}, None),
            ({"auth": 1, "username": ["u"]}, None),
            ({}, None),
        ],
    )
    async def test_the_forms_of_an_entry(self, home: Home, entry: Any, known: Any) -> None:
        home.config({"auths": {"quay.io": entry}})
        assert await home.known("quay.io") == known

    @pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"])
    async def test_docker_hub_by_any_of_its_names(self, home: Home, key: str) -> None:
        home.config({"auths": {key: basic("u", "p")}})
        assert await home.known("docker.io", "library/nginx") == ("u", "p", None)

    async def test_the_longest_key_counts(self, home: Home) -> None:
        keys = {
            "quay.io": "host",
            "https://quay.io/team": "team",
            "quay.io/team/app": "app",
            "not a key": "x",
        }
        home.config({"auths": {key: basic(user, "p") for key, user in keys.items()}})
        for repository, user in (("team/app", "app"), ("team/apps", "team"), ("teams/app", "host")):
            assert await home.known("quay.io", repository) == (user, "p", None)
        assert await home.known("quay.io:443") is None


class TestHelpers:
    async def test_the_registrys_own_helper_is_asked_first(self, home: Home) -> None:
        home.config(
            {
                "credHelpers": {"x.example": "own"},
                "credsStore": "all",
                "auths": {"x.example": basic("a", "b")},
            }
        )
        home.helper("own", {"Username": "u", "Secret": SECRET})
        assert await home.known("x.example") == ("u", SECRET, None)
        assert home.asked.read_text() == "get x.example\n"

    @pytest.mark.parametrize(
        ("registry", "key", "asked"),
        [
            ("docker.io", "https://index.docker.io/v1/", "https://index.docker.io/v1/"),
            ("x.example", "https://x.example", "https://x.example"),
            ("x.example", "other.example", "x.example"),
        ],
    )
    async def test_the_store_is_asked_under_dockers_name_of_the_registry(
        self, home: Home, registry: str, key: str, asked: str
    ) -> None:
        home.config({"auths": {key: {}}, "credsStore": "all"})
        home.helper("all", {"ServerURL": "s", "Username": "u", "Secret": SECRET})
        assert await home.known(registry) == ("u", SECRET, None)
        assert home.asked.read_text() == f"get {asked}\n"

    async def test_an_entry_for_a_namespace_counts_before_the_hosts_helper(self, home: Home) -> None:
        home.config({"credHelpers": {"x.example": "own"}, "auths": {"x.example/team": basic("a", "b")}})
        assert await home.known("x.example") == ("a", "b", None)

    async def test_an_entry_where_the_helper_knows_nothing(self, home: Home) -> None:
        home.config({"credHelpers": {"x.example": "own"}, "auths": {"x.example": basic("a", "b")}})
        home.helper("own", "credentials not found in native keychain", status=1)
        assert await home.known("x.example") == ("a", "b", None)

    async def test_a_helper_that_has_an_identity_token(self, home: Home) -> None:
        home.config({"credsStore": "all"})
        home.helper("all", {"Username": "<token>", "Secret": SECRET})
        assert await home.known("x.example") == (None, None, SECRET)

    async def test_a_helper_that_knows_nothing(self, home: Home) -> None:
        home.config({"credsStore": "all"})
        home.helper("all", "credentials not found in native keychain", status=1)
        assert await home.known("x.example") is None
        home.helper("all", {"Username": "", "Secret": ""})
        assert await home.known("x.example") is None

    @pytest.mark.parametrize(
        ("answer", "status", "words"),
        [
            (f"cannot open the key chain {SECRET}", 3, "ended with status 3"),
            (f"no JSON {SECRET}", 0, "answered what is no Username and Secret"),
            ([SECRET], 0, "answered what is no Username and Secret"),
            ({"Secret": SECRET}, 0, "answered what is no Username and Secret"),
        ],
    )
    async def test_a_helper_that_fails(self, home: Home, answer: Any, status: int, words: str) -> None:
        home.config({"credHelpers": {"x.example": "own"}})
        home.helper("own", answer, status)
        told = await failure(home)
        assert told.startswith("credential helper docker-credential-own for x.example: ")
        assert words in told

    async def test_a_helper_that_does_not_read_its_input(self, home: Home) -> None:
        home.config({"credsStore": "deaf"})
        home.script("deaf", "exec 0<&-\nexit 4")
        assert "ended with status 4" in await failure(home)

    async def test_a_helper_that_is_not_installed(self, home: Home) -> None:
        home.config({"credsStore": "desktop"})
        assert "docker-credential-desktop for x.example: is not on the PATH" in await failure(home)

    async def test_a_helper_that_cannot_be_run(self, home: Home) -> None:
        home.config({"credsStore": "text"})
        path = home.bin / "docker-credential-text"
        path.write_bytes(b"\x7fELF")
        path.chmod(0o755)
        assert "cannot be run" in await failure(home)

    @pytest.mark.parametrize("name", ["../x", "a/b", "a b", "-x", "a\0"])
    async def test_a_helper_whose_name_is_a_path_is_not_run(self, home: Home, name: str) -> None:
        home.config({"credsStore": name})
        assert "is not the name of a helper" in await failure(home)

    async def test_a_helper_that_never_answers(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(credential_helper, "HELPER_TIME_LIMIT", 0.3)
        home.config({"credsStore": "slow"})
        home.script("slow", "sleep 20 &\nwait")
        begun = time.monotonic()
        assert "gave no answer in 0.3 s" in await failure(home)
        assert time.monotonic() - begun < 10


async def failure(home: Home) -> str:
    with pytest.raises(CredentialHelperError) as caught:
        await home.known("x.example")
    assert SECRET not in repr(caught.value)
    assert not caught.value.transient
    return str(caught.value)
