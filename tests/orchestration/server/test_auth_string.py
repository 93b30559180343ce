"""The authentication string of a server that was started from here: who finds it, and who does not."""

import stat
from pathlib import Path

import pytest

from orchestration.server.auth_string import auth_file, find_auth_string, make_auth_string


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with a Prefect home of this test alone, which is no one's to read yet."""
    return {"PREFECT_HOME": str(tmp_path / "home")}


def test_it_is_made_once_for_the_user_alone(tmp_path: Path) -> None:
    made = make_auth_string(tmp_path / "home", 4200)
    user, _, secret = made.partition(":")
    assert user == "imageferry"
    assert len(secret) >= 40
    path = auth_file(tmp_path / "home", 4200)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() == made == make_auth_string(tmp_path / "home", 4200)
    assert make_auth_string(tmp_path / "home", 4201) != made
    assert sorted(each.name for each in path.parent.iterdir()) == [
        auth_file(Path(), port).name for port in (4200, 4201)
    ]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://127.0.0.1:4200/api", True),
        ("http://localhost:4200/api", True),
        # Nobody else is sent it.
        ("http://127.0.0.1:4201/api", False),
        ("http://prefect.example:4200/api", False),
        ("https://127.0.0.1:4200/api", False),
        ("http://127.0.0.1/api", False),
        ("http://127.0.0.1:port/api", False),
        ("", False),
    ],
)
def test_it_is_found_for_its_server_alone(
    tmp_path: Path, environment: dict[str, str], url: str, *, found: bool
) -> None:
    made = make_auth_string(tmp_path / "home", 4200)
    assert find_auth_string(url, environment, tmp_path) == (made if found else None)


@pytest.mark.parametrize(
    "given", [{"PREFECT_API_AUTH_STRING": "a:b"}, {"PREFECT_API_AUTH_STRING": ""}, {"PREFECT_API_KEY": "k"}]
)
def test_what_the_user_has_set_stands(tmp_path: Path, environment: dict[str, str], given: dict[str, str]) -> None:
    make_auth_string(tmp_path / "home", 4200)
    assert find_auth_string("http://127.0.0.1:4200/api", environment | given, tmp_path) is None


def test_there_may_be_none(tmp_path: Path, environment: dict[str, str]) -> None:
    assert find_auth_string("http://127.0.0.1:4200/api", environment, tmp_path) is None
