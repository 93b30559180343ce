"""Ending processes that a test has started."""

import subprocess


def end(process: "subprocess.Popen[bytes] | subprocess.Popen[str]", seconds: float = 20) -> None:
    """End a process: it is asked to, and killed where it has not ended after so many seconds."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(seconds)
