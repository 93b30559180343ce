"""The history of single rules: a table artifact each, with a row for each run that had work or failures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey

from imageferry.report.by_rule import RuleStats
from imageferry.report.outcomes import Report
from imageferry.text import format_duration, format_size
from orchestration.artifacts.keys import slugify
from orchestration.artifacts.markup import quote_markup

# Rules of one run that get a row: an unreachable registry must not cost hundreds of requests.
RULES_WITH_ROWS = 50

# Rows of one table, the newest first.
RUNS_KEPT = 30

Row = dict[str, str]


async def publish_rule_history(report: Report, figures: Iterable[RuleStats], flow_runs: Mapping[str, str]) -> None:
    """Add a row to the tables of the rules that had work or failures; those with most failures first.

    A table belongs to the rule's own flow run; to that of the report where it has none, as it could not be compared.
    """
    worked = [each for each in figures if each.copied or each.failed]
    worked.sort(key=lambda each: (-each.failed, -each.bytes))
    tables = {artifact_key(each.rule): each for each in worked[:RULES_WITH_ROWS]}
    if not tables:
        return
    async with get_client() as client:
        before = await _latest(client, list(tables))
        for name, each in tables.items():
            rows = [history_row(report, each), *before.get(name, [])][:RUNS_KEPT]
            owner = flow_runs.get(each.rule) or report.run_id
            artifact = ArtifactCreate(
                type="table",
                key=name,
                description=quote_markup(each.rule),
                data=json.dumps(rows),
                flow_run_id=UUID(owner) if owner else None,
            )
            await client.create_artifact(artifact)


def artifact_key(rule: str) -> str:
    """Return the artifact key of a rule: readable, the same in every run, and no other rule's."""
    return f"rule-{slugify(rule, 60)}-{hashlib.sha256(rule.encode()).hexdigest()[:8]}"


def history_row(report: Report, figures: RuleStats) -> Row:
    """Return what one run did with a rule."""
    first = figures.failures[0] if figures.failures else None
    return {
        "run": f"{report.started:%Y-%m-%d %H:%M}",
        "copied": f"{figures.copied:,}",
        "up to date": f"{figures.up_to_date:,}",
        "skipped": f"{figures.skipped:,}",
        "failed": f"{figures.failed:,}",
        "sent": format_size(figures.bytes),
        "time": format_duration(figures.seconds),
        "first failure": quote_markup(f"{first.source}: {first.error}") if first else "",
    }


async def _latest(client: PrefectClient, keys: list[str]) -> dict[str, list[Row]]:
    """Return the rows that the tables have, asked for all at once."""
    wanted = ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=keys))
    found = await client.read_latest_artifacts(artifact_filter=wanted, limit=len(keys))
    return {artifact.key: _rows(artifact.data) for artifact in found}


def _rows(data: object) -> list[Row]:
    """Return the rows of a table; none of what is no such table, as a person may make one under any key."""
    try:
        table = json.loads(data) if isinstance(data, str) else data
    except ValueError:
        return []
    return [row for row in table if isinstance(row, dict)] if isinstance(table, list) else []
