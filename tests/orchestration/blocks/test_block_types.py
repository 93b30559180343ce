"""Blocks and variables: credentials and configurations that Prefect keeps."""

import json
from inspect import isclass
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import ValidationError

from imageferry.config import ConfigurationError
from orchestration.blocks import block_types
from orchestration.blocks.block_types import ImageferryConfiguration, RegistryCredentials
from orchestration.blocks.stored import read_configuration
from testkit.command_line import CommandLine, insecure
from testkit.prefect.api import PrefectApi
from testkit.prefect.programs import Programs
from testkit.processes import free_port
from testkit.registries.auth import Bearer
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.inprocess import FakeRegistry

# One process has the server with the deployments, and its worker: to set them up takes half a minute.
pytestmark = pytest.mark.xdist_group("deployments")

PASSWORD = "planted-password-c41d"
CREDENTIALS = "registry-credentials"
CONFIGURATION = "imageferry-configuration"


@pytest.fixture
def locked() -> Any:
    """A registry that wants a name and a password, with an image."""
    with FakeRegistry(auth=Bearer(users={"planted-user": PASSWORD})) as registry:
        registry.image("demo/app", "v1", [b"layer"])
        yield registry


def naming(block: str, source: FakeRegistry, destination: FakeRegistry, tag: str = "v1") -> dict[str, Any]:
    auth = insecure(destination.host) | {source.host: {"credentials": block, "insecure": True}}
    return {"auth": auth, "images": {f"{source.host}/demo/app:{tag}": f"{destination.host}/mirror/app"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "u"},
        {"password": "hunter2"},
        {"username": "u", "password": "hunter2", "identity_token": "hunter2"},
        {"client_key": "hunter2.pem"},
    ],
)
def test_credentials_that_do_not_fit_together_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        RegistryCredentials(**fields)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match=r"together|excludes|certificate"):
        RegistryCredentials.read(fields)


def test_prefect_registers_the_two_forms_and_nothing_else() -> None:
    """`prefect block register -m` takes every block class of the module."""
    found = [each for each in vars(block_types).values() if isclass(each) and issubclass(each, Block)]
    assert {each for each in found if each is not Block} == {RegistryCredentials, ImageferryConfiguration}


def test_a_configuration_is_checked_when_it_is_saved() -> None:
    with pytest.raises(ValidationError) as caught:
        ImageferryConfiguration(text="auth:\n  a.example: {password: hunter2}\nimages:\n  b: x.example/B\n")
    told = str(caught.value)
    assert "text:2: auth.a.example.password" in told
    assert "text:4: images.b" in told
    assert "hunter2" not in told
    with pytest.raises(ValidationError) as caught:
        ImageferryConfiguration(text="hunter2")
    assert "hunter2" not in str(caught.value)
    ImageferryConfiguration(text="auth: {a.example: {credentials: x, ca_file: /there.pem}}\nimages: {b: '${R}/b'}\n")


def test_credentials_of_a_block_open_a_registry_on_the_command_line_and_stay_out_of_all_else(
    deployed: Programs,
    command: CommandLine,
    prefect_server: PrefectApi,
    prefect_home: Path,
    locked: FakeRegistry,
    fake_destination: FakeRegistry,
) -> None:
    prefect_server.save_block(CREDENTIALS, "planted", {"username": "planted-user", "password": PASSWORD})
    command.config(naming("planted", locked, fake_destination))
    command.more["PREFECT_LOGGING_LEVEL"] = "DEBUG"
    finished = command.run("--report", "report.json", "--log", "run.log", "--log-level", "debug")
    assert finished.status == 0, finished.both
    assert fake_destination.tags("mirror/app") == ["v1"]
    assert PASSWORD not in finished.both
    for folder in (command.folder, prefect_home):
        files = [str(file) for file in folder.rglob("*") if file.is_file() and PASSWORD.encode() in file.read_bytes()]
        assert files == []
    page = prefect_server.send("GET", f"block_types/slug/{CREDENTIALS}/block_documents/name/planted").json()
    assert page["data"]["password"].startswith("***")


def test_a_missing_block_is_a_fault_with_its_line_before_any_registry_is_asked(
    deployed: Programs, command: CommandLine, locked: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    command.config(json.dumps(naming("no-such-block", locked, fake_destination), indent=1))
    finished = command.run()
    assert finished.status == 2, finished.both
    line = (command.folder / "config.json").read_text().splitlines().index('   "credentials": "no-such-block",') + 1
    assert f"config.json:{line}: auth.{locked.host}.credentials: there is no block Registry Credentials" in finished.err
    assert "make it there" in finished.err
    assert "Traceback" not in finished.both
    assert locked.counts() == fake_destination.counts() == {}


def test_a_block_whose_fields_do_not_fit_together_is_a_fault(
    deployed: Programs, command: CommandLine, prefect_server: PrefectApi, locked: FakeRegistry,
    fake_destination: FakeRegistry,
) -> None:  # fmt: skip
    prefect_server.save_block(CREDENTIALS, "half", {"password": PASSWORD})
    command.config(naming("half", locked, fake_destination))
    finished = command.run()
    assert finished.status == 2, finished.both
    assert "'half' has a fault: user name and password belong together" in finished.err
    assert PASSWORD not in finished.both


def test_a_run_takes_a_stored_configuration_that_names_stored_credentials(
    worker: Programs,
    prefect_server: PrefectApi,
    password_registry: DistributionRegistry,
    fake_destination: FakeRegistry,
) -> None:
    prefect_server.save_block(
        CREDENTIALS, "real", {"username": "ferry", "password": password_registry.password, "insecure": True}
    )
    fake_destination.image("demo/app", "v1", [b"layer"])
    auth = {fake_destination.host: {"insecure": True}, password_registry.host: {"credentials": "real"}}
    images = {f"{fake_destination.host}/demo/app:v1": f"{password_registry.host}/stored/app"}
    prefect_server.save_block(CONFIGURATION, "nightly", {"text": json.dumps({"auth": auth, "images": images})})
    run = prefect_server.ended(prefect_server.start("sync/ad-hoc", config="nightly").json()["id"])
    assert run["state"]["message"].startswith("1 copied"), prefect_server.logs(run["id"])
    assert str(password_registry.password) not in json.dumps(run) + json.dumps(prefect_server.logs(run["id"]))

    rule = next(iter(images))
    again = prefect_server.start("sync-rule/worker", rule=rule, config="nightly").json()["id"]
    alone = prefect_server.ended(again)
    assert alone["state"]["message"] == "0 images to copy, 0 failed"
    # With no parent that would report for it, it does so itself.
    assert "imageferry-summary-worker-nightly" in prefect_server.artifacts(again)
    assert {fake_destination.host, password_registry.host} <= set(alone["tags"])


def test_a_run_takes_a_variable_where_there_is_no_block(
    worker: Programs, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("demo/app", "v1", [b"layer"])
    hosts = fake_source.host, fake_destination.host
    value = {"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}}
    prefect_server.save_variable("weekly", value)
    run = prefect_server.ended(prefect_server.start("sync/ad-hoc", config="weekly").json()["id"])
    assert run["state"]["message"].startswith("1 copied"), prefect_server.logs(run["id"])


async def test_a_path_comes_before_a_block_and_a_block_before_a_variable(
    deployed: Programs, prefect_server: PrefectApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def text(source: str) -> str:
        return f"# {source}\nimages: {{{source}: x.example/b}}\n"

    prefect_server.save_variable("order", text("variable"))
    monkeypatch.chdir(tmp_path)
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        found = [await read_configuration("order")]
        prefect_server.save_block(CONFIGURATION, "order", {"text": text("block")})
        found.append(await read_configuration("order"))
        (tmp_path / "order").write_text(text("file"))
        found.append(await read_configuration("order"))
    assert [rule.name for each in found for rule in each.rules] == ["variable", "block", "file"]


async def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: url}):
        with pytest.raises(ConfigurationError, match=r"nightly: is no file here, and .* does not answer") as caught:
            await read_configuration("nightly")
        assert url in str(caught.value)
        file = tmp_path / "config.yaml"
        file.write_text("auth:\n  a.example: {credentials: x}\nimages: {b: a.example/b}\n")
        with pytest.raises(
            ConfigurationError, match=r"config\.yaml:2: auth\.a\.example\.credentials: .*does not answer"
        ):
            await read_configuration(str(file))


def test_all_faults_of_a_stored_configuration_are_in_the_states_message(
    worker: Programs, prefect_server: PrefectApi
) -> None:
    text = "auth:\n  a.example: {credentials: gone}\nimages:\n  b: x.example/B\n  c: d\n  d: ${NOT_SET_HERE}/d\n"
    prefect_server.save_block(CONFIGURATION, "faulty", {"text": text})
    run = prefect_server.ended(prefect_server.start("sync/ad-hoc", config="faulty").json()["id"])
    assert run["state_type"] == "FAILED"
    for words in ("block faulty:2: auth.a.example.credentials", "block faulty:4: images.b", "block faulty:6: images.d"):
        assert words in run["state"]["message"]
    assert "Traceback" not in "\n".join(prefect_server.logs(run["id"]))


def test_a_configuration_that_is_nowhere_says_where_it_was_looked_for(
    worker: Programs, prefect_server: PrefectApi
) -> None:
    for name in ("nowhere", "no/such/config.yaml"):
        run = prefect_server.ended(prefect_server.start("sync/ad-hoc", config=name).json()["id"])
        assert run["state_type"] == "FAILED"
        assert f"{name}: is no file in" in run["state"]["message"]
        assert "neither a block Imageferry Configuration nor a variable" in run["state"]["message"]
