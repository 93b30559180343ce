"""Finding programs of this machine, ports for them, and ending what was started of them."""

import shutil
import socket
import subprocess


class MissingProgram(RuntimeError):
    """A program that the tests need is not installed."""


class AbsentVersion(MissingProgram):
    """A program that no package of Debian's has: it is used where it is there, and nowhere required."""


def program(*names: str, package: str) -> str:
    """Find a program by one of its names."""
    for name in names:
        if path := shutil.which(name):
            return path
    raise MissingProgram(f"{names[0]} is not installed: apt-get install {package}")


def end(process: "subprocess.Popen[bytes] | subprocess.Popen[str]", seconds: float = 20) -> None:
    """End a process: it is asked to, and killed where it has not ended after so many seconds."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(seconds)


def free_port() -> int:
    """A port of the loopback that nobody listens at just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
