"""Credentials that an entry of ``auth`` names, and configurations that are checked where they are not used."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from imageferry.config import UNKNOWN_ENVIRONMENT, ConfigurationError, Files, load, load_text
from imageferry.credentials.named import CredentialsError, NamedCredentials, StoredCredentials
from imageferry.model import Configuration, RegistryAccess

IMAGES = "images: {b: x.example/b}\n"
LOGIN = RegistryAccess(username=SecretStr("u"), password=SecretStr("hunter2"), insecure=True)


def read(auth: str, credentials: StoredCredentials, folder: Path = Path()) -> Configuration:
    return load_text(f"auth:\n  {auth}\n{IMAGES}", "c.yaml", environment={}, folder=folder, credentials=credentials)


def missing(name: str) -> RegistryAccess:
    raise CredentialsError(f"there is no {name}: make it")


def test_an_entry_takes_what_is_kept_under_its_name() -> None:
    asked = []

    def kept(name: str) -> RegistryAccess:
        asked.append(name)
        return LOGIN

    found = read("x.example: {credentials: my-hub}", kept)
    assert found.access["x.example"] == LOGIN
    assert asked == ["my-hub"]


def test_what_the_entry_says_itself_counts(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    entry = "x.example: {credentials: my-hub, insecure: false, ca_file: ca.pem, proxy: 'http://p:1', username: ''}"
    found = read(entry, lambda _: LOGIN, tmp_path).access["x.example"]
    assert found.username == LOGIN.username
    assert not found.insecure
    assert found.ca_file == tmp_path / "ca.pem"
    assert found.proxy == SecretStr("http://p:1")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{credentials: gone}", "c.yaml:2: auth.x.example.credentials: there is no gone: make it"),
        ("{credentials: ''}", "is empty"),
        ("{credentials: 7}", 'quote it: "7"'),
        ("{credentials: my-hub, username: u, password: hunter2}", "excludes username and password"),
        ("{credentials: my-hub, identity_token: hunter2}", "excludes identity_token"),
        ("{credential: my-hub}", "did you mean 'credentials'?"),
    ],
)
def test_an_error_names_file_line_and_key(entry: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(f"x.example: {entry}", missing)
    assert words in str(caught.value)
    assert "c.yaml:2: auth.x.example.cred" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_all_missing_credentials_are_reported_at_once_with_the_other_errors(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "auth:\n  a.example: {credentials: a}\n  b.example: {credentials: b}\nimages: {b: 'x.example/b:'}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load(Files(config=file), environment={}, credentials=missing)
    assert [diagnostic.line for diagnostic in caught.value.diagnostics] == [2, 3, 4]


def test_without_a_store_a_name_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="none are kept here"):
        load_text(f"auth: {{x.example: {{credentials: my-hub}}}}\n{IMAGES}", "c.yaml", environment={})


def test_a_file_that_stored_credentials_name_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "there.pem").touch()
    there = RegistryAccess(ca_file=Path("there.pem"))
    found = read("x.example: {credentials: c}", lambda _: there, tmp_path)
    assert found.access["x.example"].ca_file == tmp_path / "there.pem"
    with pytest.raises(ConfigurationError, match=r"'c' has client_cert 'gone\.pem', which does not exist"):
        read("x.example: {credentials: c}", lambda _: RegistryAccess(client_cert=Path("gone.pem")), tmp_path)
    with pytest.raises(ConfigurationError, match="'c' has a proxy that is no address") as caught:
        read("x.example: {credentials: c}", lambda _: RegistryAccess(proxy=SecretStr("u:hunter2@p")), tmp_path)
    assert "hunter2" not in str(caught.value)


def test_names_can_be_gathered_first() -> None:
    named = NamedCredentials()
    read("x.example: {credentials: a}\n  y.example: {credentials: b}\n  z.example: {credentials: a}", named)
    assert named.names == {"a", "b"}


USED_ELSEWHERE = """
auth:
  a.example: {username: "$U", password: "${P}", ca_file: /only/there.pem, proxy: "${PROXY}"}
images:
  b: ${REGISTRY}/b
  c: ""
"""


def test_what_only_the_place_of_use_knows_is_no_error_elsewhere() -> None:
    found = load_text(USED_ELSEWHERE, "c.yaml", environment=UNKNOWN_ENVIRONMENT)
    assert [rule.name for rule in found.rules] == ["b", "c"]
    with pytest.raises(ConfigurationError) as caught:
        load_text(USED_ELSEWHERE, "c.yaml", environment={})
    assert [diagnostic.line for diagnostic in caught.value.diagnostics] == [3, 3, 3, 3, 5, 6]


@pytest.mark.parametrize("line", ["  b: x.example/B", "  'b:v1,': x.example/b", "  b: b"])
def test_what_is_wrong_everywhere_is_an_error_elsewhere_too(line: str) -> None:
    with pytest.raises(ConfigurationError, match="stored:2: "):
        load_text(f"images:\n{line}\n", "stored", environment=UNKNOWN_ENVIRONMENT)
