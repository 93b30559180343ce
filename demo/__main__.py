"""The demo from start to end: `python -m demo` in the project's folder."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from demo.images import Pushed, fill
from demo.runs import RunError, sync
from testkit.images.push import request
from testkit.processes import MissingProgram, program
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.inprocess import FakeRegistry

FOLDER = Path(".demo")


def main() -> int:
    """Tell the story; return the exit status: 0 when the second run moved nothing."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    with contextlib.ExitStack() as stack:
        _say("Two registries")
        source, destination = (_registry(stack, name) for name in ("source", "destination"))

        _say("What the source holds")
        images = fill(source)
        for image in images:
            print(f"  {f'{image.repository}:{image.tag}':<18} {image.what}")

        # Registries in memory have made no folder.
        FOLDER.mkdir(exist_ok=True)
        config = FOLDER / "config.json"
        _say(f"The configuration, {config}")
        config.write_text(json.dumps(_configuration(source, destination), indent=2) + "\n")
        print(config.read_text(), end="")

        first = _run("The first run", config)
        second = _run("The same run again", config)
        return _end(first, second, _differing(source, destination, images))


def _registry(stack: contextlib.ExitStack, name: str) -> str:
    """Start a registry until the stack is left, and return its host."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        program("docker-registry", "registry", package="docker-registry")
    except MissingProgram:
        host = stack.enter_context(FakeRegistry()).host
        print(f"  {name:<12} {host}  the tests' own registry, in memory (docker-registry is not installed)")
    else:
        host = stack.enter_context(_running(folder)).host
        print(f"  {name:<12} {host}  docker-registry, with its files in {folder}")
    return host


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[DistributionRegistry]:
    with DistributionRegistry(folder.resolve()) as registry:
        yield registry


def _configuration(source: str, destination: str) -> dict[str, Any]:
    return {
        "auth": {host: {"insecure": True} for host in (source, destination)},
        "images": {
            f"{source}/demo/app": f"{destination}/mirror/app",
            f"{source}/demo/tool:latest": f"{destination}/mirror/tool:stable",
            f"{source}/demo/multi:/^2/": [f"{destination}/mirror/multi", f"{destination}/archive/multi"],
        },
    }


def _run(heading: str, config: Path) -> dict[str, Any]:
    _say(f"{heading}: python -m flows.sync --config {config}")
    prefect_home = FOLDER / "prefect"
    if not prefect_home.exists():
        print("Prefect makes its database first; the next demo finds it made.", flush=True)
    totals: dict[str, Any] = sync(config, FOLDER / "report.json", prefect_home.resolve())["totals"]
    return totals


def _differing(source: str, destination: str, images: list[Pushed]) -> list[str]:
    """Return the images that are not at the destination under the digest they have at the source."""
    different = []
    for image in images:
        name = image.repository.rpartition("/")[2]
        tag = "stable" if name == "tool" else image.tag
        there = _digest(destination, f"mirror/{name}", tag)
        if there is None or there != _digest(source, image.repository, image.tag):
            different.append(f"{image.repository}:{image.tag}")
    return different


def _digest(host: str, repository: str, tag: str) -> str | None:
    accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    answer = request("HEAD", host, f"/v2/{repository}/manifests/{tag}", headers={"Accept": accept})
    return answer.headers.get("docker-content-digest") if answer.status == 200 else None


def _end(first: dict[str, Any], second: dict[str, Any], different: list[str]) -> int:
    _say("What came of it")
    moved = second["copied"] or second["bytes_written"]
    print(
        f"  first run    {first['copied']} copied: {first['blobs_copied']} blobs sent, "
        f"{first['blobs_mounted']} mounted, {first['blobs_present']} already there"
    )
    print(f"  second run   {second['copied']} copied, {second['up_to_date']} up to date")
    print(f"  digests      {'differ: ' + ', '.join(different) if different else 'the same at both ends'}")
    if moved:
        print("demo: the second run copied what was there already", file=sys.stderr)
    return 1 if moved or different or not first["copied"] else 0


def _say(heading: str) -> None:
    print(f"\n== {heading}", flush=True)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    try:
        status = main()
    except RunError as error:
        print(f"demo: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    raise SystemExit(status)
