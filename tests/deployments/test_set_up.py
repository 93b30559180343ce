"""The files of a set-up: compose, systemd units, and the deployments of docker and kubernetes pools."""

import json
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from prefect.settings import Settings
from pydantic import BaseModel

from deployments.render import render
from orchestration.deployments.definition import POOLS, Pool
from orchestration.server.prefect_settings import LEASES, RETENTION, SERVER_DEFAULTS
from testkit.command_line import ROOT

FOLDER = ROOT / "deployments"
UNITS = sorted((FOLDER / "systemd").glob("*.service"))


def _settings(model: type[BaseModel], prefix: str = "PREFECT") -> set[str]:
    names = set()
    for name, field in model.model_fields.items():
        full = f"{prefix}_{name}".upper()
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names |= _settings(inner, full)
        else:
            names.add(full)
            # Some are known by an older, shorter name only.
            aliases = getattr(field.validation_alias, "choices", [])
            names |= {alias.upper() for alias in aliases if isinstance(alias, str)}
    return names


@pytest.mark.parametrize(
    "path",
    [FOLDER / "compose.yaml", *UNITS, ROOT / "prefect.yaml", ROOT / "docs" / "prefect.md", *FOLDER.glob("prefect.*")],
    ids=lambda path: path.name,
)
def test_every_setting_of_prefect_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"\bPREFECT_[A-Z_]+[A-Z]\b", path.read_text()))
    # The levels of loggers are keys of Prefect's logging.yml, and the server reads its key past the settings.
    others = re.compile("PREFECT_LOGGING_LOGGERS_|PREFECT_SERVER_ENCRYPTION_KEY$")
    assert {name for name in named if not others.match(name)} <= _settings(Settings)


def test_the_services_of_compose_fit_together() -> None:
    document = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    services: dict[str, Any] = document["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        if "build" in service:
            assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
    assert services["worker"]["environment"]["PREFECT_API_URL"] == "http://server:4200/api"


def server_settings(path: Path) -> dict[str, str]:
    """Give the environment of Prefect's server in a file of a set-up."""
    if path.suffix == ".yaml":
        environment = yaml.safe_load(path.read_text())["services"]["server"]["environment"]
        return {name: value.replace("${POSTGRES_PASSWORD}", "p@ss/w%rd") for name, value in environment.items()}
    lines = re.findall(r"^Environment=(.*)$", path.read_text(), re.MULTILINE)
    return dict(setting.split("=", 1) for line in lines for setting in line.split())


@pytest.mark.parametrize(
    "path", [FOLDER / "compose.yaml", FOLDER / "systemd" / "imageferry-server.service"], ids=lambda path: path.name
)
def test_prefect_takes_the_settings_of_the_server(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = server_settings(path)
    for name, value in (given | {"PREFECT_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    taken = Settings().server
    # What a server of our own has, so that runs do not wait for their history at the end; but its log is wanted here.
    ours = {name: value for name, value in SERVER_DEFAULTS.items() if name != "PREFECT_SERVER_LOGGING_LEVEL"}
    assert ours.items() <= given.items()
    assert RETENTION.items() <= given.items()
    assert LEASES.items() <= given.items()
    assert taken.api.cors_allowed_origins == "http://127.0.0.1:4200,http://localhost:4200"
    assert taken.services.db_vacuum.retention_period == timedelta(days=90)
    assert taken.events.retention_period == timedelta(days=2)
    if path.suffix == ".yaml":
        assert taken.database.connection_url is not None
        url = taken.database.connection_url.get_secret_value()
        assert url == "postgresql+asyncpg://prefect:p%40ss%2Fw%25rd@postgres:5432/prefect"


def test_what_the_image_is_made_of_is_there() -> None:
    copied = [line.split()[1:-1] for line in (FOLDER / "Dockerfile").read_text().splitlines() if "COPY " in line]
    assert copied
    assert all((ROOT / name).exists() for names in copied for name in names)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = unit.read_text()
    program = "/opt/imageferry/.venv/bin/imageferry"
    assert program in text
    here = tmp_path / unit.name
    here.write_text(text.replace(program, str(Path(sys.executable).parent / "imageferry")))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, unit.name in checked.stderr) == (0, False), checked.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_what_a_unit_keeps_is_for_its_user_alone(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    assert {"UMask=0077", "StateDirectoryMode=0700", "NoNewPrivileges=true", "ProtectSystem=strict"} <= set(lines)


def test_the_server_of_compose_asks_for_the_string_that_its_clients_have() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    string = "SERVER_AUTH_STRING"
    assert services["server"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"] == f"${{{string}}}"
    for name in ("deploy", "worker"):
        # Unset it is an error; empty it means none.
        assert services[name]["environment"]["PREFECT_API_AUTH_STRING"].startswith(f"${{{string}?")
    assert "server:/var/lib/imageferry" in services["server"]["volumes"]


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool.name)
def test_the_files_of_the_deployments_are_what_their_definition_gives(pool: Pool) -> None:
    assert (ROOT / pool.file).read_text() == render(pool), "run `python -m deployments.render`"


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_the_variants_differ_from_prefect_yaml_in_the_pool_alone(kind: str) -> None:
    ours = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    theirs = yaml.safe_load((FOLDER / f"prefect.{kind}.yaml").read_text())["deployments"]
    for one, other in zip(ours, theirs, strict=True):
        assert other["work_pool"]["name"] == f"imageferry-{kind}"
        assert other["parameters"] == one["parameters"] | {"config": "nightly"}
        for key in ("work_pool", "description", "parameters"):
            one.pop(key)
            other.pop(key)
        assert one == other


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_the_variables_of_a_variants_job_are_known_to_its_pool(kind: str) -> None:
    folder = Path(prefect.__file__).parent / "server" / "api" / "collections_data" / "views"
    collections = json.loads((folder / "aggregate-worker-metadata.json").read_text())
    template = collections[f"prefect-{kind}"][kind]["default_base_job_configuration"]
    written = yaml.safe_load((FOLDER / f"prefect.{kind}.yaml").read_text())["definitions"]["work_pool"]
    assert set(written["job_variables"]) <= set(template["variables"]["properties"])


def test_the_entry_points_of_the_variants_exist() -> None:
    for path in (ROOT / "prefect.yaml", *FOLDER.glob("prefect.*.yaml")):
        for deployment in yaml.safe_load(path.read_text())["deployments"]:
            file, _, name = deployment["entrypoint"].partition(":")
            assert f"async def {name}(" in (ROOT / file).read_text()
