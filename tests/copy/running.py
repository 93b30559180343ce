"""A whole run of the engine, as short as a test wants it."""

import json
from collections.abc import Callable
from typing import Any, Protocol

from imageferry.config import load_text
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.report.outcomes import Report


class AnyRegistry(Protocol):
    """A registry, real or in process."""

    @property
    def host(self) -> str:
        """`address:port`."""


def configured(images: Any, *insecure: AnyRegistry, auth: dict[str, dict[str, Any]] | None = None, **more: Any) -> str:
    """Write a configuration that allows plain HTTP to `insecure`; `auth` has further entries or other ones."""
    entries = {each.host: {"insecure": True} for each in insecure}
    return json.dumps({"auth": {**entries, **(auth or {})}, "images": images, **more})


async def run(text: str, before_copy: Callable[[], object] | None = None, **options: Any) -> Report:
    """Do what a configuration says, each image and blob once and without retries, and return the report."""
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
    """Return the error of each destination that failed."""
    return {image.destination: image.error or "" for image in report.images if image.outcome == "failed"}
