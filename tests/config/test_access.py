"""The entries of ``auth``, and that none of what they hold is ever shown."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from imageferry.config import ConfigurationError, load_text
from imageferry.model import RegistryAccess
from imageferry.reference import Reference
from imageferry.registry_key import normalize_key


def read(auth: Any, environment: dict[str, str] | None = None, folder: Path = Path()) -> dict[str, RegistryAccess]:
    text = json.dumps({"auth": auth, "images": {"b": "x.example/b"}})
    return load_text(text, "c.json", environment=environment or {}, folder=folder).access


def shown(access: RegistryAccess, *keys: str) -> list[str | None]:
    secrets = [getattr(access, key) for key in keys]
    return [secret and secret.get_secret_value() for secret in secrets]


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("quay.io", "quay.io"),
        ("quay.io/", "quay.io"),
        ("Quay.IO", "quay.io"),
        ("quay.io/coreos", "quay.io/coreos"),
        ("quay.io/a/b/", "quay.io/a/b"),
        ("https://quay.io", "quay.io"),
        ("http://localhost:5000/", "localhost:5000"),
        ("https://x.example/v2/", "x.example"),
        ("x.example/v2", "x.example/v2"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("registry.hub.docker.com/team", "docker.io/team"),
        ("docker.io/team", "docker.io/team"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_key_has_one_normal_form(written: str, normal: str) -> None:
    assert normalize_key(written) == normal
    assert list(read({written: {}})) == [normal]


@pytest.mark.parametrize("written", ["index.docker.io", "docker.io/", "https://index.docker.io/v1/"])
def test_all_names_of_docker_hub_are_for_docker_hub(written: str) -> None:
    text = json.dumps({"auth": {written: {"username": "u", "password": "p"}}, "images": {"nginx": "x.example/n"}})
    found = load_text(text, "c.json", environment={})
    assert found.access_to(Reference.parse("nginx")) is found.access["docker.io"]


def test_the_longest_key_counts_and_may_be_the_whole_repository() -> None:
    keys = ["x.example", "x.example/a", "x.example/a/b", "x.example/a/bc"]
    text = json.dumps({"auth": {key: {} for key in keys}, "images": {"b": "x.example/b"}})
    found = load_text(text, "c.json", environment={})
    for repository, key in (("a/b", 2), ("a/b/c", 2), ("a/bc", 3), ("a/bcd", 1), ("z", 0)):
        assert found.access_to(Reference("x.example", repository)) is found.access[keys[key]]
    assert found.access_to(Reference("y.example", "a/b")) is None


def test_values_can_come_from_the_environment() -> None:
    environment = {"U": "me", "P": "a$b", "TOKEN": "t", "PROXY": "http://u:p@proxy:3128"}
    auth = {
        "a.example": {"username": "$U", "password": "${P}"},
        "b.example": {"identity_token": "${TOKEN}", "proxy": "$PROXY"},
    }
    found = read(auth, environment)
    assert shown(found["a.example"], "username", "password") == ["me", "a$b"]
    assert shown(found["b.example"], "identity_token", "proxy") == ["t", "http://u:p@proxy:3128"]


@pytest.mark.parametrize("text", ["robot$project+ci", "$", "${", "${}", "a${U", "$U b", "$1", "p$U$"])
def test_a_dollar_elsewhere_is_plain(text: str) -> None:
    found = read({"a.example": {"username": text, "password": text}}, {"U": "me", "project": "x"})
    assert shown(found["a.example"], "username", "password") == [text, text]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1234${REST}", "1234rest"),
        ("${U}${REST}", "merest"),
        ("a-${U}-$U-b", "a-me-$U-b"),
        ("${U}", "me"),
        ("$U", "me"),
        ("x${EMPTY}y", "xy"),
    ],
)
def test_a_variable_in_braces_is_replaced_wherever_it_stands(text: str, value: str) -> None:
    environment = {"U": "me", "REST": "rest", "EMPTY": ""}
    found = read(
        {"a.example": {"username": text, "password": text}, "b.example": {"identity_token": text}}, environment
    )
    assert shown(found["a.example"], "username", "password") == [value, value]
    assert shown(found["b.example"], "identity_token") == [value]


def test_a_proxy_and_a_file_may_have_variables_within(tmp_path: Path) -> None:
    (tmp_path / "ca-x.pem").touch()
    entry = {"proxy": "http://u:${P}@proxy:3128", "ca_file": "ca-${X}.pem"}
    found = read({"a.example": entry}, {"P": "secret", "X": "x"}, tmp_path)["a.example"]
    assert shown(found, "proxy") == ["http://u:secret@proxy:3128"]
    assert found.ca_file == tmp_path / "ca-x.pem"


@pytest.mark.parametrize("username", ["$oauthtoken", "$app", "$token"])
def test_the_user_names_that_registries_have_for_tokens_are_no_variables(username: str) -> None:
    # NVIDIA's and Quay's; whatever the environment has of that name.
    entry = {"a.example": {"username": username, "password": "p"}}
    for environment in ({}, {username[1:]: "other"}):
        assert shown(read(entry, environment)["a.example"], "username") == [username]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_break_at_the_end_of_a_variable_is_dropped_once(end: str) -> None:
    environment = {"U": f"me{end}", "P": f"pass\n{end}"}
    found = read({"a.example": {"username": "$U", "password": "x${P}"}}, environment)["a.example"]
    assert shown(found, "username", "password") == ["me", "xpass\n"]
    with pytest.raises(ConfigurationError, match="U is set to nothing"):
        read({"a.example": {"username": "$U", "password": "p"}}, {"U": end})


def test_docker_hub_by_two_names_with_equal_credentials_is_one() -> None:
    entry = {"username": "u", "password": "p"}
    found = read({"docker.io": entry, "registry.hub.docker.com": entry, "https://index.docker.io/v1/": dict(entry)})
    assert list(found) == ["docker.io"]
    assert shown(found["docker.io"], "username", "password") == ["u", "p"]


def read_yaml(entry: str) -> RegistryAccess:
    text = f"auth:\n  a.example: {entry}\nimages: {{b: x.example/b}}\n"
    return load_text(text, "c.yaml", environment={}).access["a.example"]


@pytest.mark.parametrize("written", ["0123", "123456", "1e3", "0x1F", "-5", "1.10", ".5", "1_000", "22:30"])
def test_digits_without_quotes_keep_their_text(written: str) -> None:
    found = read_yaml(f"{{username: {written}, password: {written}}}")
    assert shown(found, "username", "password") == [written, written]
    assert shown(read_yaml(f"{{identity_token: {written}}}"), "identity_token") == [written]


@pytest.mark.parametrize(
    ("written", "value"),
    [*((word, True) for word in ("yes", "Yes", "YES", "y", "Y", "on", "On", "ON", "true", "True"))]
    + [(word, False) for word in ("no", "No", "NO", "n", "N", "off", "Off", "OFF", "false", "FALSE")],
)
def test_a_truth_value_of_old_yaml_is_one_where_it_is_expected(written: str, value: bool) -> None:
    found = read_yaml(f"{{username: {written}, password: p, insecure: {written}}}" if written[0] not in "tTfF" else
                      f"{{insecure: {written}}}")  # fmt: skip
    assert found.insecure is value
    if found.username:
        assert shown(found, "username") == [written]


def test_an_entry_of_comments_alone_is_anonymous() -> None:
    assert read_yaml("# {username: u}") == RegistryAccess()


def test_empty_texts_are_anonymous() -> None:
    for entry in (
        {"username": "", "password": ""},
        {"username": None, "password": None},
        {},
        {"insecure": True},
    ):
        found = read({"a.example": entry})["a.example"]
        assert (found.username, found.password) == (None, None)


def test_files_are_looked_for_from_the_configurations_folder(tmp_path: Path) -> None:
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / name).touch()
    entry = {"ca_file": "ca.pem", "client_cert": str(tmp_path / "client.pem"), "client_key": "./client.key"}
    found = read({"a.example": entry}, folder=tmp_path)["a.example"]
    assert found.ca_file == tmp_path / "ca.pem"
    assert found.client_cert == tmp_path / "client.pem"
    assert found.client_key == tmp_path / "client.key"


def test_a_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    assert read({"a.example": {"ca_file": "$CA"}}, {"CA": str(tmp_path / "ca.pem")})["a.example"].ca_file
    with pytest.raises(ConfigurationError, match=r"'\$CA' does not exist"):
        read({"a.example": {"ca_file": "$CA"}}, {"CA": str(tmp_path / "other.pem")})


@pytest.mark.parametrize("key", ["ca_file", "client_cert"])
def test_a_pipe_is_no_certificate(tmp_path: Path, key: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="'pipe' is not a regular file: expected a PEM file"):
        read({"a.example": {key: "pipe"}}, folder=tmp_path)


SECRET = "hunter2"
CAREFUL = [
    f"a.example: {{username: {SECRET}u, password: {SECRET}p, proxy: 'http://u:{SECRET}@x:1'}}",
    f"a.example: {{identity_token: {SECRET}}}",
    "a.example: {username: $U, password: '${P}'}",
]
CARELESS = {
    "no password": f"a.example: {{username: {SECRET}}}",
    "no username": f"a.example: {{password: {SECRET}}}",
    "a token too many": f"a.example: {{password: {SECRET}, username: {SECRET}, identity_token: {SECRET}}}",
    "a text": f"a.example: u:{SECRET}",
    "a list": f"a.example: {{password: [{SECRET}], username: [{SECRET}]}}",
    "a mapping": f"a.example: {{password: {{{SECRET}: {SECRET}}}, username: u}}",
    "an alias": f"a.example: {{password: *{SECRET}, username: u}}",
    "a tag": f"a.example: {{password: !{SECRET}, username: u}}",
    "a tag with a handle": f"a.example: {{password: !{SECRET}!x y, username: u}}",
    "an anchor twice": f"a.example: {{password: &{SECRET} p, username: &{SECRET} u}}",
    "a quote": f"a.example: {{password: '{SECRET}, username: u}}",
    "a percent": f"a.example: {{password: %{SECRET}, username: u}}",
    "an at": f"a.example:\n    password: @{SECRET}",
    "a colon": f"a.example:\n    password: {SECRET}: {SECRET}",
    "a dollar": f"a.example: {{password: ${SECRET}, username: u}}",
    "the wrong key": f"a.example: {{pass: {SECRET}}}",
    "the wrong value": f"a.example: {{insecure: {SECRET}}}",
    "a proxy": f"a.example: {{proxy: 'u:{SECRET}@x:1'}}",
    "a proxy's port": f"a.example: {{proxy: 'http://u:{SECRET}@x:port'}}",
    "a key": f"https://u:{SECRET}@a.example: {{}}",
    "a key without scheme": f"u:{SECRET}@a.example: {{}}",
    "a destination": "a.example: {}\nimages: {b: '${P}/b:${P}', 'c:v1,v2': '${P}.example/c:a'}",
    "another destination": "a.example: {}\nimages: {'c:v1,v2': '${P}.example/c:${P},${P}'}",
    "one over the other": "a.example: {}\nimages: {'c:v1': 'x.example/c:${P}', 'b:v1': 'x.example/c:${P}'}",
    "json": f'{{"auth": {{"a.example": {{"password": "{SECRET}" "username": "u"}}}}}}',
}


@pytest.mark.parametrize("line", CAREFUL)
def test_no_secret_of_a_configuration_is_shown(line: str) -> None:
    text = f"auth:\n  {line}\nimages: {{b: x.example/b}}\n"
    found = load_text(text, "c.yaml", environment={"U": SECRET, "P": SECRET})
    assert SECRET not in str(found) + repr(found)


@pytest.mark.parametrize("lines", CARELESS.values(), ids=CARELESS.keys())
def test_no_secret_is_in_an_error(lines: str) -> None:
    text = lines if lines.startswith("{") else f"auth:\n  {lines}\n"
    if "images" not in text:
        text += "images: {b: x.example/b}\n"
    with pytest.raises(ConfigurationError) as caught:
        load_text(text, "c.yaml", environment={"U": SECRET, "P": SECRET})
    error = caught.value
    assert SECRET not in str(error) + repr(error) + repr(error.diagnostics)
    assert SECRET.encode() not in pickle.dumps(error.args)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
