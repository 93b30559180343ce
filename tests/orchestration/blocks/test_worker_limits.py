"""What a stored configuration may read of the machine of the run."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from imageferry.config import ConfigurationError
from imageferry.credentials.named import CredentialsError
from imageferry.model import RegistryAccess
from orchestration.blocks import stored
from orchestration.blocks.worker_limits import FileLimits

SECRET = "planted-secret-7f2a"


async def read(document: Any, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Any:
    """Read a block's text as a run does."""
    text = document if isinstance(document, str) else json.dumps(document)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stored, "_stored_text", lambda client, name: ("block nightly", text))
    monkeypatch.setattr(stored, "get_client", lambda **_: contextlib.nullcontext())
    return await stored.read_configuration("nightly")


def with_password(variable: str) -> dict[str, Any]:
    auth = {"a.example": {"username": "u", "password": variable}}
    return {"auth": auth, "images": {"a.example/a": "b.example/a"}}


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"IMAGEFERRY_HUB": SECRET}, "IMAGEFERRY_HUB"),
        ({"HUB_PASSWORD": SECRET, "IMAGEFERRY_ENVIRONMENT": "OTHER, HUB_"}, "HUB_PASSWORD"),
        ({"HUB": SECRET, "IMAGEFERRY_ENVIRONMENT": "HUB"}, "HUB"),
    ],
)
async def test_it_reads_the_variables_that_are_listed(
    environment: dict[str, str], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await read(with_password(f"${{{variable}}}"), monkeypatch, **environment)
    assert found.access["a.example"].password.get_secret_value() == SECRET


@pytest.mark.parametrize(
    "document",
    [
        with_password("${AWS_SECRET_ACCESS_KEY}"),
        with_password("$AWS_SECRET_ACCESS_KEY"),
        {"auth": {"a.example": {"proxy": "${AWS_SECRET_ACCESS_KEY}"}}, "images": {"a.example/a": "b.example/a"}},
        {"images": {"a.example/a:v1": "b.example/a:${AWS_SECRET_ACCESS_KEY}"}},
    ],
)
@pytest.mark.parametrize("is_set", [True, False])
async def test_it_reads_no_other_and_does_not_say_whether_it_is_set(
    document: dict[str, Any], is_set: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    environment = {"AWS_SECRET_ACCESS_KEY": SECRET} if is_set else {}
    with pytest.raises(ConfigurationError) as caught:
        await read(document, monkeypatch, **environment, IMAGEFERRY_ENVIRONMENT="AWS, AWS_SECRET_ACCESS")
    told = str(caught.value)
    assert "may not read the environment variable AWS_SECRET_ACCESS_KEY of a worker: call it IMAGEFERRY_…" in told
    assert SECRET not in told


async def test_a_password_that_begins_with_a_dollar_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await read(with_password("$hunter2"), monkeypatch)
    assert "hunter2" not in str(caught.value)


async def test_the_address_of_the_notifications_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="may not read"):
        await read(with_password("${IMAGEFERRY_NOTIFICATIONS_URL}"), monkeypatch, IMAGEFERRY_NOTIFICATIONS_URL=SECRET)


async def test_it_names_no_file_outside_the_listed_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    for folder in (run, other):
        folder.mkdir()
        (folder / "ca.pem").write_text("")
    (run / "link.pem").symlink_to(other / "ca.pem")
    monkeypatch.chdir(run)

    def document(path: object) -> dict[str, Any]:
        return {"auth": {"a.example": {"ca_file": str(path)}}, "images": {"a.example/a": "b.example/a"}}

    for path in ("../other/ca.pem", other / "ca.pem", "link.pem", "/etc/shadow", "~/.ssh/id_rsa"):
        with pytest.raises(ConfigurationError) as caught:
            await read(document(path), monkeypatch)
        assert f"auth.a.example.ca_file: what is stored in Prefect may not name the file {str(path)!r}" in str(
            caught.value
        )
    assert (await read(document("ca.pem"), monkeypatch)).access["a.example"].ca_file == Path("ca.pem")
    found = await read(document("${IMAGEFERRY_CA}"), monkeypatch, IMAGEFERRY_CA=str(other / "ca.pem"))
    assert found.access["a.example"].ca_file == other / "ca.pem"
    await read(document(other / "ca.pem"), monkeypatch, IMAGEFERRY_FILES=f"/nowhere,{other}")


def test_a_file_whose_content_would_be_sent_has_to_be_listed(tmp_path: Path) -> None:
    assert FileLimits(tmp_path, {}).refusal("password_file", str(tmp_path / "config.json"))
    assert FileLimits(tmp_path, {"IMAGEFERRY_FILES": str(tmp_path)}).refusal("password_file", "hub.txt") == ""


def test_a_block_names_no_file_outside_them(tmp_path: Path) -> None:
    limits = FileLimits(tmp_path, {})
    with pytest.raises(
        CredentialsError, match=r"client_key: what is stored in Prefect may not name the file '/root/x'"
    ):
        limits.check(RegistryAccess(client_cert=Path("a.pem"), client_key=Path("/root/x")))
    access = RegistryAccess(ca_file=Path("ca.pem"))
    assert limits.check(access) is access


@pytest.mark.parametrize(
    "content",
    [
        f"root:{SECRET}:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
        f'{{"{SECRET}": {{"x": 1}}, "auths": {{}}}}',
        f"{SECRET}: 1\n{SECRET}: 2\nother: [\n",
        f"[default]\n{SECRET} = 1\n",
        f'"{SECRET}',
        "",
    ],
)
async def test_of_a_file_that_is_no_configuration_nothing_is_quoted(content: str, tmp_path: Path) -> None:
    for name in ("shadow", "config.json"):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(ConfigurationError) as caught:
            await stored.read_configuration(str(path))
        assert str(caught.value).startswith(f"{path}: is no configuration")
        assert SECRET not in str(caught.value)


async def test_a_file_on_the_workers_disk_reads_its_whole_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(with_password("${HUB_PASSWORD}")))
    monkeypatch.setenv("HUB_PASSWORD", SECRET)
    found = await stored.read_configuration(str(path))
    assert found.access["a.example"].password is not None
    path.write_text("images:\n  a: B\n  b: [\n")
    with pytest.raises(ConfigurationError, match=r"config\.json:"):
        await stored.read_configuration(str(path))


@pytest.mark.parametrize(("path", "told"), [("/dev/zero", "is no regular file"), ("/tmp", "is a directory")])
async def test_what_is_no_file_is_refused(path: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        await stored.read_configuration(path)
