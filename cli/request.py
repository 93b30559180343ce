"""What the command line asks for, and everything that can be wrong with it. Imports no prefect."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from cyclopts import Group, Parameter

from cli.exit_codes import USAGE
from cli.log_file import find_log_problem
from imageferry.config import ConfigurationError, find_files, load
from imageferry.config.registries import LimitError, parse_bandwidth
from imageferry.config.text.read import read_bytes
from imageferry.copy.options import DEFAULT_PROC, DEFAULT_RETRIES, Options
from imageferry.credentials.named import StoredCredentials
from imageferry.model import Configuration
from imageferry.selection import PlatformFilter, SelectionError
from orchestration.settings import settings_problems

WHAT = Group("What is copied", sort_key=1)
HOW = Group("How", sort_key=2)
SHOWN = Group("What is shown and written", sort_key=3)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for."""

    config: Annotated[Path | None, Parameter(group=WHAT)] = None
    """One file with auth and images, JSON or YAML; without it ./config.json, then .yaml, .yml"""
    auth: Annotated[Path | None, Parameter(group=WHAT)] = None
    """The file with auth, where it is apart from the images"""
    images: Annotated[Path | None, Parameter(group=WHAT)] = None
    """The file with images, where it is apart from auth"""
    registry: Annotated[str | None, Parameter(group=WHAT)] = None
    """Default destination registry, for rules whose destination is empty"""
    namespace: Annotated[str | None, Parameter(group=WHAT)] = None
    """Default destination namespace, for rules whose destination is empty"""
    os: Annotated[list[str], Parameter(group=WHAT)] = field(default_factory=list)
    """Copy only these operating systems: os or os:version; repeatable, comma lists too"""
    arch: Annotated[list[str], Parameter(group=WHAT)] = field(default_factory=list)
    """Copy only these architectures: arm64, arm64:v8 or arm64/v8; repeatable, comma lists too"""

    proc: Annotated[int, Parameter(("--proc", "-p"), group=HOW)] = DEFAULT_PROC
    """Blobs in flight at once"""
    retries: Annotated[int, Parameter(("--retries", "-r"), group=HOW)] = DEFAULT_RETRIES
    """More attempts for a failed tag or blob"""
    force: Annotated[bool, Parameter(group=HOW)] = False
    """Put manifests even where the destination has them"""
    bandwidth: Annotated[str | None, Parameter(group=HOW)] = None
    """Bytes a second read from all sources together, such as 50MiB/s; each byte is read once for all destinations"""
    dry_run: Annotated[bool, Parameter(group=HOW)] = False
    """Plan and print, write to no registry"""
    no_history: Annotated[bool, Parameter(group=HOW)] = False
    """Copy without Prefect: no server is started or asked, and no history is kept"""
    distribute: Annotated[bool, Parameter(group=HOW)] = False
    """Have the workers of a Prefect work pool copy: each rule with work is a run of the deployment sync-rule/worker"""

    report: Annotated[Path | None, Parameter(group=SHOWN, allow_leading_hyphen=True)] = None
    """Write the report as JSON to this file; - is standard output"""
    log: Annotated[Path | None, Parameter(group=SHOWN)] = None
    """Append the log to this file, whose folder is made if need be; standard error otherwise"""
    log_level: Annotated[Literal["debug", "info", "warning", "error"] | None, Parameter(group=SHOWN)] = None
    """How much is logged: info to a file, warning to standard error where nothing is said"""
    output_success_images: Annotated[Path | None, Parameter(group=SHOWN)] = None
    """Write the images that were copied to this file"""
    output_failed_images: Annotated[Path | None, Parameter(group=SHOWN)] = None
    """Write the rules to run again to this file, in the format that --images reads"""
    output_images_format: Annotated[Literal["yaml", "json"], Parameter(group=SHOWN)] = "yaml"
    """Format of these two files"""
    quiet: Annotated[bool, Parameter(group=SHOWN)] = False
    """No progress"""
    # Early versions of image-syncer kept there what they had copied.
    records: Annotated[Path | None, Parameter(group=SHOWN, show=False)] = None

    @property
    def notices(self) -> list[str]:
        """What is to be reported of flags that are taken and change nothing."""
        notices = []
        if self.config is not None and (self.auth is not None or self.images is not None):
            ignored = " and ".join(f"--{flag}" for flag in ("auth", "images") if getattr(self, flag) is not None)
            notices.append(f"--config {self.config} has it all: {ignored} left unread, as image-syncer does")
        if self.records is not None:
            notices.append("--records is not needed: what is up to date is found at the destination")
        return notices

    @property
    def described(self) -> str:
        """The configuration's files in a few words, as the flow run's parameter shows them."""
        if self.distribute:
            # Workers stand in other folders.
            return str((find_files(self.config, None, None, Path.cwd()).config or Path()).absolute())
        if self.config is not None:
            return str(self.config)
        return " + ".join(str(file) for file in (self.auth, self.images) if file) or "config.json"

    @property
    def platforms(self) -> PlatformFilter:
        """The platform filter. Raises ``SelectionError``."""
        return PlatformFilter.of(_split(self.os), _split(self.arch))

    @property
    def options(self) -> Options:
        """The engine's options. Raises ``SelectionError`` and ``LimitError``."""
        return Options(
            proc=self.proc,
            retries=self.retries,
            force=self.force,
            dry_run=self.dry_run,
            bandwidth=None if self.bandwidth is None else parse_bandwidth(self.bandwidth),
            platforms=self.platforms,
        )


def _find_undistributable_flags(request: Request) -> list[str]:
    """Return a problem for each flag that ``--distribute`` cannot pass to the workers."""
    if not request.distribute:
        return []
    one_file = "workers read one file: give --config, at a path that each of them has"
    why = {
        "no-history": (request.no_history, "it is Prefect that tells the workers what to copy"),
        "auth": (request.auth, one_file),
        "images": (request.images, one_file),
        "registry": (request.registry, "workers read the file alone: write it there, under deproblems"),
        "namespace": (request.namespace, "workers read the file alone: write it there, under deproblems"),
        "bandwidth": (
            request.bandwidth,
            "each rule is a run of its own, and would take as much: the file's registries bound each",
        ),
    }
    return [f"--distribute excludes --{flag}: {words}" for flag, (given, words) in why.items() if given]


def load_configuration(request: Request, credentials: StoredCredentials) -> Configuration:
    """Return the configuration, or report every problem of the command line and of the files, and end with status 2."""
    problems = [
        f"--{name} {value}: expected {least} or more"
        for name, value, least in (("proc", request.proc, 1), ("retries", request.retries, 0))
        if value < least
    ] + _find_undistributable_flags(request)
    if not request.no_history:
        problems += settings_problems()
    for flag, file in (
        ("report", request.report),
        ("output-success-images", request.output_success_images),
        ("output-failed-images", request.output_failed_images),
    ):
        if file is not None and str(file) != "-" and not file.absolute().parent.is_dir():
            problems.append(f"--{flag} {file}: there is no folder {file.absolute().parent}")
    try:
        request.options  # noqa: B018 - read for its errors
    except LimitError as error:
        problems.append(f"--bandwidth: {error}")
    except SelectionError as error:
        problems += str(error).splitlines()
    try:
        files = find_files(request.config, request.auth, request.images, Path.cwd())
        configuration = load(
            files,
            registry=request.registry,
            namespace=request.namespace,
            credentials=credentials,
            read=_read_once,
        )
    except ConfigurationError as error:
        problems += str(error).splitlines()
    # Last: it makes the folder.
    if not problems and request.log is not None and (problem := find_log_problem(request.log)):
        problems.append(f"--log {request.log}: {problem}")
    if problems:
        refuse(problems)
    return configuration


def refuse(problems: list[str]) -> NoReturn:
    """Report the problems on standard error and end with status 2."""
    for problem in problems:
        print(f"imageferry: {problem}", file=sys.stderr)
    raise SystemExit(USAGE)


# A configuration that names stored credentials is read twice, and a pipe gives its content once.
_read_once = functools.cache(read_bytes)


def _split(values: list[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]
