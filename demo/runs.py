"""Runs of Imageferry as a person starts them, with a Prefect of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# Seconds that a run has to end by itself when the demo is interrupted.
PATIENCE = 20.0


class RunError(Exception):
    """A run did not end well. The text says how."""


def sync(config: Path, report: Path, prefect_home: Path) -> dict[str, Any]:
    """Run the command line on a configuration and return its report. Raises ``RunError``."""
    command = [sys.executable, "-m", "flows.sync", "--config", str(config), "--report", str(report)]
    report.unlink(missing_ok=True)
    # Apart from the terminal: an interrupt there reaches it once, from here, and it ends in order.
    process = subprocess.Popen(command, env=_environment(prefect_home), start_new_session=True)
    try:
        status = process.wait()
    finally:
        if process.poll() is None:
            _stop(process)
    if status != 0:
        raise RunError(f"the run ended with status {status}")
    content: dict[str, Any] = json.loads(report.read_bytes())
    return content


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a run: in order, so that it stops its server, and after ``PATIENCE`` seconds by force."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
        return
    process.kill()
    process.wait()


def _environment(prefect_home: Path) -> dict[str, str]:
    """Return the environment without what it says of Prefect and of proxies: the demo stays on this machine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "DEFAULT_")) and not name.lower().endswith("_proxy")
    }
    return kept | {"PREFECT_HOME": str(prefect_home)}
