"""A program that runs Imageferry's engine with no Prefect: ``python -m benchmarks.engine CONFIG REPORT PROC``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from imageferry.concurrency import for_each
from imageferry.config import Configuration, Files, Rule, load
from imageferry.copy.ferry import Ferry
from imageferry.copy.options import Options
from imageferry.copy.plan import Work
from imageferry.report import Report

#: As the flows have them.
RULES_AT_ONCE, IMAGES_AT_ONCE = 4, 12


async def run(configuration: Configuration, proc: int) -> Report:
    """Plan all rules, copy what they have to copy, and give the report."""
    async with Ferry(configuration, Options(proc=proc)) as ferry:

        async def copy(work: Work) -> None:
            try:
                await ferry.copy(work)
            except Exception as error:
                ferry.give_up(work, error)

        async def copy_rule(rule: Rule) -> None:
            await for_each(await ferry.plan(rule), IMAGES_AT_ONCE, copy)

        await ferry.plan_all(configuration.rules)
        await for_each(configuration.rules, RULES_AT_ONCE, copy_rule)
        return ferry.outcomes.report()


def main(config: Path, report: Path, proc: int) -> int:
    """Run, write the report, give the exit status."""
    result = asyncio.run(run(load(Files(config=config)), proc))
    report.write_text(result.to_json())
    return 1 if result.totals.failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
