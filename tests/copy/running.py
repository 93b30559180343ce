"""A whole run of the engine, as short as a test wants it."""

import json
from collections.abc import Callable
from typing import Any, Protocol

from imageferry.config import load_text
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.report.outcomes import Report


class Place(Protocol):
    """A registry, real or in process."""

    @property
    def host(self) -> str:
        """`address:port`."""


def configured(images: Any, *places: Place, auth: dict[str, dict[str, Any]] | None = None, **more: Any) -> str:
    """Write a configuration. Plain HTTP is let be at the places; `auth` has further entries or other ones."""
    entries = {place.host: {"insecure": True} for place in places}
    return json.dumps({"auth": {**entries, **(auth or {})}, "images": images, **more})


async def run(text: str, before_copy: Callable[[], object] | None = None, **options: Any) -> Report:
    """Do what a configuration says, each image once and without Prefect's retries, and give the report."""
    configuration = load_text(text, "config.json", environment={})
    async with Engine(configuration, Options(**options), mover=BlobMove.run, environment={}) as engine:
        for rule in configuration.rules:
            for job in await engine.plan(rule):
                if before_copy is not None:
                    before_copy()
                try:
                    await engine.copy(job)
                except Exception as error:
                    engine.give_up(job, error)
        return engine.outcomes.report()


def outcomes(report: Report) -> dict[str, str]:
    """Return the outcome of each destination."""
    found = {image.destination: image.outcome.value for image in report.images}
    assert len(found) == len(report.images), "a destination is reported twice"
    return found


def errors(report: Report) -> dict[str, str]:
    """Return the words for each destination that failed."""
    return {image.destination: image.error or "" for image in report.images if image.outcome == "failed"}
