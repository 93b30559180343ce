"""Rules that wait for others: one that reads what another writes is planned once that one is copied."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from imageferry.copy.job import CopyJob
from imageferry.model import Rule
from imageferry.reference import Reference
from imageferry.rule_order import upstream_rules


class Upstream:
    """Holds each rule back until those that it follows are settled: every image copied, failed or not to be copied.

    ``on_settled`` is called with each rule that others follow, before these go on.
    """

    def __init__(self, rules: Sequence[Rule], on_settled: Callable[[Rule], None]) -> None:
        self._upstream = upstream_rules(rules)
        self._on_settled = on_settled
        followed = {name for names in self._upstream.values() for name in names}
        self._followed = {rule.name: rule for rule in rules if rule.name in followed}
        self._settled = {name: asyncio.Event() for name in followed}
        # The jobs of each rule that are not finished, by source.
        self._open: dict[str, set[Reference]] = {}

    def of(self, rule: Rule) -> list[Rule]:
        """Return the rules that a rule follows."""
        return [self._followed[name] for name in self._upstream.get(rule.name, ())]

    async def wait(self, rule: Rule) -> None:
        """Return once all rules that a rule follows are settled."""
        for name in self._upstream.get(rule.name, ()):
            await self._settled[name].wait()

    def planned(self, rule: Rule, jobs: Iterable[CopyJob]) -> None:
        """Record what a rule has to copy; a rule without work is settled."""
        if rule.name in self._settled:
            self._open[rule.name] = {job.source for job in jobs if not job.is_finished}
            self._settle_if_done(rule.name)

    def finished(self, job: CopyJob) -> None:
        """Record that the outcome of a job is known everywhere; the last one of its rule settles the rule."""
        if job.rule in self._open:
            self._open[job.rule].discard(job.source)
            self._settle_if_done(job.rule)

    def _settle_if_done(self, name: str) -> None:
        if not self._open[name] and not self._settled[name].is_set():
            self._on_settled(self._followed[name])
            self._settled[name].set()
