"""The demo where nothing is installed: both registries in memory, and no folder made before."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any, NoReturn

import pytest

from demo import __main__ as demo
from imageferry.config import Files, load
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.copy.runner import LocalRunner
from testkit.processes import MissingProgram


def copy(config: Path, report: Path, prefect_home: Path) -> dict[str, Any]:
    """Do what the command line does, without Prefect and in this process."""
    configuration = load(Files(config=config), environment={})

    async def run() -> str:
        async with Engine(configuration, Options(), environment={}) as engine:
            await LocalRunner(engine).run(configuration.rules)
            return engine.outcomes.report().to_json()

    found: dict[str, Any] = json.loads(asyncio.run(run()))
    return found


def test_it_needs_no_registry_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*names: str, package: str) -> NoReturn:
        raise MissingProgram(f"{package} is not installed")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "program", missing)
    monkeypatch.setattr(demo, "sync", copy)
    taken = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert demo.main() == 0
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
    shown = capsys.readouterr().out
    assert shown.count("the tests' own registry, in memory") == 2
    assert "second run   0 copied, 5 up to date" in shown
    assert "the same at both ends" in shown
