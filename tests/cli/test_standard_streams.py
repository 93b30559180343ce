"""Standard streams that lose what cannot be written, and nothing else."""

from __future__ import annotations

import io
import os

from cli.standard_streams import TolerantStream, stream_failure


def test_a_full_disk_loses_lines_and_raises_nothing() -> None:
    with TolerantStream(open("/dev/full", "wb"), line_buffering=True) as stream:
        assert stream.write("a line\n") == 7
        print("another", file=stream, flush=True)
        failure = stream_failure(stream)
    assert failure is not None
    assert failure.strerror == "No space left on device"


def test_a_pipe_that_nobody_reads_raises_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with TolerantStream(open(writing, "wb"), line_buffering=True) as stream:
        for _ in range(3):
            print("x" * 100_000, file=stream, flush=True)
        assert isinstance(stream_failure(stream), BrokenPipeError)


def test_what_can_be_written_is_and_no_failure_is_kept() -> None:
    there = io.BytesIO()
    stream = TolerantStream(there, encoding="ascii", errors="backslashreplace")
    print("a → b", file=stream, flush=True)
    assert there.getvalue() == b"a \\u2192 b\n"
    assert stream_failure(stream) is None
    assert stream_failure(io.StringIO()) is None
