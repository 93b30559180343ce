"""The machine, and the versions of what ran on it."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.tools.imageferry import ROOT
from testkit.processes import program

PACKAGES = ("prefect", "httpx", "httpx-aiohttp", "aiohttp", "pydantic", "uvicorn")


def machine() -> dict[str, str]:
    """Tell cores, memory, kernel and Python."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "?"),
        "Python": platform.python_version(),
        "load before the first run": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def versions() -> dict[str, str]:
    """Tell what is used besides the tools."""
    registry = program("docker-registry", "registry", package="docker-registry")
    found = {"docker-registry": _first_line([registry, "--version"])}
    if commit := _first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]):
        found["this checkout"] = commit
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "?"
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(words: list[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return next(iter(done.stdout.splitlines()), "") if done.returncode == 0 else ""
