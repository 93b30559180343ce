"""Of the Prefect servers of a home one starts at a time."""

import fcntl
from pathlib import Path

import pytest

from orchestration.server.startup_lock import NAME, StartupLock


def is_free(home: Path) -> bool:
    """Whether the next server may start."""
    with (home / NAME).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_it_is_held_until_it_is_released_or_left(tmp_path: Path) -> None:
    with StartupLock(tmp_path) as lock:
        assert not is_free(tmp_path)
        lock.release()
        assert is_free(tmp_path)
        lock.release()
    with StartupLock(tmp_path):
        assert not is_free(tmp_path)
    assert is_free(tmp_path)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_folder_that_cannot_be_used_is_for_the_server_to_report(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with StartupLock(tmp_path / name) as lock:
        lock.release()
