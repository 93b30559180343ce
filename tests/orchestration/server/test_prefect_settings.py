"""Prefect's settings as they are read without importing prefect: what Prefect itself makes of them."""

import os
from pathlib import Path

import pytest
from prefect.settings import Settings

from orchestration.server.prefect_settings import (
    api_url,
    own_server_settings,
    prefect_home,
    set_defaults,
    settings_problem,
)

DOTENV = "PREFECT_API_URL=http://dotenv/api\n"
TOML = "[api]\nurl = 'http://toml/api'\n"
PYPROJECT = "[tool.prefect.api]\nurl = 'http://pyproject/api'\n"
PROFILES = """
active = 'one'
[profiles.one]
PREFECT_API_URL = 'http://one/api'
[profiles.two]
PREFECT_API_URL = 'http://two/api'
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, without a setting of the developer's."""
    for name in list(os.environ):
        if name.startswith("PREFECT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "environment", "expected"),
    [
        pytest.param({}, {}, None, id="nothing"),
        pytest.param({}, {"PREFECT_API_URL": "http://environment/api"}, "environment", id="environment"),
        pytest.param({".env": DOTENV}, {}, "dotenv", id=".env"),
        pytest.param({"prefect.toml": TOML}, {}, "toml", id="prefect.toml"),
        pytest.param({"pyproject.toml": PYPROJECT}, {}, "pyproject", id="pyproject.toml"),
        pytest.param({"home/profiles.toml": PROFILES}, {}, "one", id="active profile"),
        pytest.param({"home/profiles.toml": PROFILES}, {"PREFECT_PROFILE": "two"}, "two", id="named profile"),
        pytest.param({"home/profiles.toml": PROFILES}, {"PREFECT_PROFILE": "three"}, None, id="absent profile"),
        pytest.param(
            {"profiles.toml": PROFILES}, {"PREFECT_PROFILES_PATH": "profiles.toml"}, "one", id="profiles elsewhere"
        ),
        pytest.param(
            {"profiles.toml": PROFILES, "prefect.toml": "profiles_path = 'profiles.toml'\n"},
            {},
            "one",
            id="profiles elsewhere by prefect.toml",
        ),
        pytest.param(
            {".env": DOTENV, "prefect.toml": TOML},
            {"PREFECT_API_URL": "http://environment/api"},
            "environment",
            id="environment before .env",
        ),
        pytest.param({".env": DOTENV, "prefect.toml": TOML}, {}, "dotenv", id=".env before prefect.toml"),
        pytest.param(
            {"prefect.toml": TOML, "pyproject.toml": PYPROJECT}, {}, "toml", id="prefect.toml before pyproject.toml"
        ),
        pytest.param(
            {"prefect.toml": "[server]\n", "pyproject.toml": PYPROJECT}, {}, "pyproject", id="prefect.toml without it"
        ),
        pytest.param(
            {"pyproject.toml": PYPROJECT, "home/profiles.toml": PROFILES}, {}, "pyproject", id="files before profile"
        ),
        pytest.param({"prefect.toml": TOML}, {"PREFECT_API_URL": ""}, None, id="an empty one takes it away"),
    ],
)
def test_the_server_is_the_one_that_prefect_takes(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    environment: dict[str, str],
    expected: str | None,
) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    url = expected and f"http://{expected}/api"
    assert (Settings().api.url or None) == url
    assert api_url(os.environ, folder) == url


SETTING = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".env", f"{SETTING}=7\n"),
        ("prefect.toml", "[server.services.task_run_recorder]\nbatch_size = 7\n"),
        ("pyproject.toml", "[tool.prefect.server.services.task_run_recorder]\nbatch_size = 7\n"),
        ("home/profiles.toml", f"active = 'one'\n[profiles.one]\n{SETTING} = '7'\n"),
    ],
)
def test_a_default_overrides_nothing_that_the_user_has_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    (folder / name).write_text(text)
    environment = {"PREFECT_HOME": str(folder / "home")}
    set_defaults(environment, {SETTING: "200", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"})
    for setting, value in environment.items():
        monkeypatch.setenv(setting, value)
    server = Settings().server
    assert server.services.task_run_recorder.batch_size == 7
    assert not server.analytics_enabled


def test_a_default_counts_where_nothing_is_set(folder: Path) -> None:
    environment = {"PREFECT_HOME": str(folder / "home"), "PREFECT_LOGGING_LEVEL": "INFO"}
    set_defaults(environment, {SETTING: "200", "PREFECT_LOGGING_LEVEL": "ERROR"})
    assert environment[SETTING] == "200"
    assert environment["PREFECT_LOGGING_LEVEL"] == "INFO"


def test_a_home_in_a_file_is_the_one_that_prefect_takes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_HOME")
    (folder / "prefect.toml").write_text("home = 'elsewhere'\n")
    assert prefect_home(os.environ, folder) == folder / "elsewhere"
    assert Settings().home.resolve() == folder / "elsewhere"


def test_of_settings_for_servers_those_of_the_database_count_for_a_runs_own(folder: Path) -> None:
    (folder / "prefect.toml").write_text("[server.database]\nport = 6000\n[server.api]\nauth_string = 'a:b'\n")
    (folder / ".env").write_text("PREFECT_SERVER_DOCKET_URL=redis://x\nPREFECT_SERVER_ENCRYPTION_KEY=k\n")
    given = {"PREFECT_HOME": "home", "PREFECT_API_DATABASE_CONNECTION_URL": "u", "PREFECT_SERVER_API_BASE_PATH": "/x"}
    assert own_server_settings(given, folder) == {
        "PREFECT_SERVER_DATABASE_PORT": "6000",
        "PREFECT_SERVER_ENCRYPTION_KEY": "k",
        "PREFECT_API_DATABASE_CONNECTION_URL": "u",
    }


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("home/profiles.toml", "active = [", "home/profiles.toml cannot be read as TOML: "),
        ("prefect.toml", "x = [", "prefect.toml cannot be read as TOML: "),
        ("home/profiles.toml", PROFILES, ""),
    ],
)
def test_a_file_of_settings_that_is_broken_is_named(folder: Path, name: str, text: str, problem: str) -> None:
    (folder / name).write_text(text)
    found = settings_problem(os.environ, folder)
    assert found.startswith(str(folder / problem)) if problem else not found


def test_who_has_no_home_is_asked_for_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert settings_problem({}, folder) == "this user has no home: set PREFECT_HOME to a folder for Prefect's database"
