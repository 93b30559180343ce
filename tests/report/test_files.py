"""Files that are written as a whole or not at all, for their owner alone, and streams that are no files."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from imageferry.report.files import is_standard_output, write_text


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_text(path, "text\n")
    assert (path.read_text(), mode(path)) == ("text\n", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old, and longer")
    path.chmod(0o640)
    write_text(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o640)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "report.json"
    link.symlink_to("there/real.json")
    for text in ("first", "second"):
        write_text(link, text)
        assert link.is_symlink()
        assert (tmp_path / "there" / "real.json").read_text() == text


def test_what_cannot_be_written_leaves_the_file_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_text(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_to_and_stays_one() -> None:
    write_text(Path(os.devnull), "text")
    with pytest.raises(OSError, match="No space left") as caught:
        write_text(Path("/dev/full"), "text")
    assert caught.value.filename == "/dev/full"
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    write_text(path, "text")
    reader.join(5)
    assert read == ["text"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_folder_or_a_file_in_none_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "such"):
        with pytest.raises(OSError, match="director") as caught:
            write_text(path, "text")
        assert caught.value.filename == str(path)


def test_standard_output_by_its_names(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        assert is_standard_output(Path(name)), name
    for path in (tmp_path / "x", Path(os.devnull), Path("/dev/stderr")):
        assert not is_standard_output(path), path
