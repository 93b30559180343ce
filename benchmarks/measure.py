"""A program that runs a command and tells what it cost: ``python measure.py RESULT OUTPUT LIMIT COMMAND...``.

It is small on purpose, and imports little: a process's peak memory is never told as less than that of the process
which started it. All descendants are waited for and counted, those too that outlive the command; the wall time is the
command's own.
"""

import ctypes
import json
import os
import signal
import sys
import time

_SET_CHILD_SUBREAPER = 36


def main(result: str, output: str, limit: float, command: list[str]) -> None:
    """Run the command, its output to a file; end it after ``limit`` seconds or a signal; write the figures as JSON."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    overdue = False

    def stop(number: int, frame: object) -> None:
        nonlocal overdue
        overdue = True
        os.killpg(child, signal.SIGKILL)

    begun = time.monotonic()
    child = _start(command, output)
    for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    signal.setitimer(signal.ITIMER_REAL, limit)
    wall, status, user, system, peak = 0.0, 0, 0.0, 0.0, 0
    while True:
        try:
            pid, ended, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        if pid == child:
            wall, status = time.monotonic() - begun, os.waitstatus_to_exitcode(ended)
            signal.setitimer(signal.ITIMER_REAL, 0)
        user, system, peak = user + usage.ru_utime, system + usage.ru_stime, max(peak, usage.ru_maxrss)
    figures = {
        "wall": wall,
        "status": status,
        "overdue": overdue,
        "user": user,
        "system": system,
        "peak": peak * 1024,
        "own": _own_peak(),
    }
    with open(result, "w", encoding="utf-8") as file:
        json.dump(figures, file)


def _own_peak() -> int:
    """Return this program's own peak: the kernel counts it as that of the child, too, that it forks."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def _start(command: list[str], output: str) -> int:
    """Start the command in a process group of its own; 127 is its status where it cannot be started."""
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(nothing, 0)
        os.dup2(written, 1)
        os.dup2(written, 2)
        os.execvp(command[0], command)
    finally:
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:])
