"""The files that a run writes: its report, the images that were copied, and the rules to run again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml

from imageferry.report.outcomes import ImageOutcome, Outcome, Report

Format = Literal["yaml", "json"]


def write_report(report: Report, target: Path) -> None:
    """Write the report as JSON; ``-`` is standard output. Raises ``OSError``."""
    if str(target) == "-":
        sys.stdout.write(report.to_json() + "\n")
    else:
        target.write_text(report.to_json() + "\n")


def write_copied(report: Report, target: Path, form: Format) -> None:
    """Write the images that were copied, as image-syncer does: source to destinations. Raises ``OSError``."""
    copied = [image for image in report.images if image.outcome is Outcome.COPIED]
    target.write_text(_FORMATTERS[form](_group_by_source(copied)))


def write_failed(report: Report, target: Path, form: Format) -> None:
    """Write the rules to run again, in the format that ``--images`` reads. Raises ``OSError``."""
    failed = _as_rules(report)
    document: Any = _group_by_source(failed)
    if any(report.retry_platforms.values()):
        # Only the form of a list can have a filter.
        document = [
            _to_rule(image, report.retry_platforms.get((image.source, image.destination), [])) for image in failed
        ]
    target.write_text(_FORMATTERS[form](document))


def _as_rules(report: Report) -> list[ImageOutcome]:
    """Return the failed images, each once, as rules that can be run again."""
    found: dict[tuple[str, str], ImageOutcome] = {}
    for image in report.images:
        if image.outcome is Outcome.FAILED:
            source, destination = key = report.retry_as.get((image.source, image.destination)) or (
                image.source,
                image.destination,
            )
            found.setdefault(key, replace(image, source=source, destination=destination))
    return list(found.values())


def _to_rule(image: ImageOutcome, platforms: list[str]) -> dict[str, Any]:
    rule: dict[str, Any] = {"from": image.source, "to": image.destination}
    return rule | {"platforms": platforms} if platforms else rule


def _group_by_source(images: Iterable[ImageOutcome]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for image in images:
        found.setdefault(image.source, []).append(image.destination)
    return found


def _to_json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _to_yaml(document: Any) -> str:
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000))


_FORMATTERS: dict[Format, Callable[[Any], str]] = {"json": _to_json, "yaml": _to_yaml}
