"""The files that a run writes: its report, the images that were copied, and the rules to run again."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import yaml

from imageferry.report.outcomes import ImageOutcome, Outcome, Report

Format = Literal["yaml", "json"]

# New files are for their owner alone: they name registries and repositories.
MODE = 0o600


def write_report(report: Report, target: Path) -> None:
    """Write the report as JSON; ``-`` is standard output. Raises ``OSError``."""
    write_text(target, report.to_json() + "\n")


def write_copied(report: Report, target: Path, form: Format) -> None:
    """Write the images that were copied, as image-syncer does: source to destinations. Raises ``OSError``."""
    copied = [image for image in report.images if image.outcome is Outcome.COPIED]
    write_text(target, format_document(_group_by_source(copied), form))


def format_document(document: Any, form: Format) -> str:
    """Return plain values as a file's text, which is read as the same values."""
    return _FORMATTERS[form](document)


def is_standard_output(target: Path) -> bool:
    """Return whether writing there is writing to standard output: ``-``, ``/dev/stdout`` and such."""
    return str(target) == "-" or _is_stream(target, 1)


def write_text(target: Path, text: str) -> None:
    """Write a file as a whole or not at all; ``-`` and streams such as ``/dev/stdout`` are written to directly.

    A new file has ``MODE``, one that is there keeps its mode. Raises ``OSError`` with the file's name.
    """
    try:
        if is_standard_output(target):
            _write_stream(sys.stdout, text)
        elif _is_stream(target, 2):
            _write_stream(sys.stderr, text)
        elif _is_special(target):
            # A device or a pipe: renaming would put a file in its place.
            target.write_text(text)
        else:
            _replace(Path(os.path.realpath(target)), text)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(target)) from None


def _replace(target: Path, text: str) -> None:
    try:
        before = target.stat()
    except FileNotFoundError:
        before = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    except PermissionError:
        if before is None:
            raise
        # The file may be written, its folder not.
        target.write_text(text)
        return
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, MODE if before is None else stat.S_IMODE(before.st_mode))
            if before is not None:
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _write_stream(stream: Any, text: str) -> None:
    stream.write(text)
    stream.flush()


def _is_special(target: Path) -> bool:
    with contextlib.suppress(OSError):
        return not stat.S_ISREG(target.stat().st_mode) or str(target.absolute()).startswith(("/dev/", "/proc/"))
    return False


def _is_stream(target: Path, descriptor: int) -> bool:
    """Return whether a path names an open stream of this process; ``/dev/null`` is none, wherever that goes."""
    try:
        there = target.stat()
        return os.path.samestat(there, os.fstat(descriptor)) and not target.samefile(os.devnull)
    except (OSError, ValueError):
        return False


def _group_by_source(images: Iterable[ImageOutcome]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for image in images:
        found.setdefault(image.source, {})[image.destination] = None
    return {source: [*destinations] for source, destinations in found.items()}


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would read as a number and PyYAML, by 1.1, would not."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    may_be_number = text[:1] in "0123456789+-." and "/" not in text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if may_be_number else None)


_Dumper.add_representer(str, _represent_text)


def _to_json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _to_yaml(document: Any) -> str:
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))


_FORMATTERS: dict[Format, Callable[[Any], str]] = {"json": _to_json, "yaml": _to_yaml}
