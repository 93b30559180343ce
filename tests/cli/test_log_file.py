"""The file of `--log`; that it stops no run is tried in `test_outputs`."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

from cli.log_file import LogFile, find_log_problem


def test_a_log_is_for_its_owner_alone_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "of" / "today.log"
    assert find_log_problem(path) == ""
    log = LogFile(path)
    for number in range(2):
        log.emit(logging.makeLogRecord({"msg": f"line {number}"}))
    log.close()
    assert path.read_text() == "line 0\nline 1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("older\n")
    assert find_log_problem(path) == ""
    assert path.read_text() == "older\n"


def test_why_a_log_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert (
        find_log_problem(tmp_path / "file" / "today.log")
        == f"cannot be written: {tmp_path / 'file'} is not a directory"
    )


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    assert find_log_problem(tmp_path) == "cannot be written: Is a directory"
