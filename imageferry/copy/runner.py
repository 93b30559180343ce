"""A whole run of the engine by itself: every rule planned, every image copied, with retries.

This is how a run goes without an orchestrator, and how it goes on when the orchestrator is lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from imageferry.concurrency import for_each, for_each_arriving
from imageferry.copy.engine import Engine
from imageferry.copy.job import CopyJob
from imageferry.copy.retries import retry_transient
from imageferry.model import Rule

# Rules that are copied at the same time: each may cost the orchestrator a run of its own, and more bring little.
RULES_COPIED_AT_ONCE = 4

# Images of one rule that are copied at the same time: enough to fill the blob slots, few enough to keep memory small.
IMAGES_AT_ONCE = 12


class LocalRunner:
    """Copies the jobs that are not finished; what was copied, or has failed for good, is left alone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(self, rules: Iterable[Rule]) -> None:
        """Plan the rules, and copy what each has to copy as soon as it is planned.

        Never raises for an image: each costs itself alone.
        """
        # As many as rule by rule, but none waits for the last one of its rule.
        await for_each_arriving(self._jobs(rules), RULES_COPIED_AT_ONCE * IMAGES_AT_ONCE, self.copy)

    async def copy_rule(self, rule: Rule) -> None:
        """Copy what one rule has to copy."""
        await for_each(await self._engine.plan(rule), IMAGES_AT_ONCE, self.copy)

    async def copy(self, job: CopyJob) -> None:
        """Copy one image, and record it as failed where it cannot be copied."""
        if job.is_finished:
            return
        try:
            await retry_transient(lambda: self._engine.copy(job), self._engine.options.retries)
        except Exception as error:
            # Whatever it is, it costs this image alone, and is reported.
            self._engine.give_up(job, error)

    async def _jobs(self, rules: Iterable[Rule]) -> AsyncIterator[CopyJob]:
        async for _, jobs in self._engine.as_planned(rules):
            for job in jobs:
                yield job
