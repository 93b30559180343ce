"""The automations that end runs which died, and how one is put on the Prefect server."""

from __future__ import annotations

from datetime import timedelta

from prefect.automations import AutomationCore
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

DIED = "Imageferry: find runs that died"
LEFT = "Imageferry: end cancellations that nobody does"

# Events of all ends of a run, and of one that is to end.
ENDS = {f"prefect.flow-run.{name}" for name in ("Failed", "Crashed", "TimedOut", "Completed", "Cancelled")}
CANCELLING = "prefect.flow-run.Cancelling"
HEARTBEAT = "prefect.flow-run.heartbeat"

# More than two of the heartbeats of a run: PREFECT_FLOWS_HEARTBEAT_FREQUENCY is 180 s where nothing is set.
DEAD_AFTER = timedelta(minutes=7)


def of_deployments() -> list[ResourceSpecification | dict[str, str | list[str]]]:
    """Return the related resources of the events of these runs. Runs of single rules are not reported beside theirs."""
    return [
        ResourceSpecification.model_validate({"prefect.resource.role": "flow", "prefect.resource.name": "sync"}),
        # A heartbeat does not name its deployment, so any deployment of this flow matches: a run by hand has none.
        ResourceSpecification.model_validate({"prefect.resource.id": "prefect.deployment.*"}),
    ]


def crash_detection(dead_after: timedelta = DEAD_AFTER) -> AutomationCore:
    """Return the automation that marks a run as crashed when its heartbeats cease: its slot is free again."""
    return _ended(
        DIED,
        "Marks a run as crashed that gives no sign of life any more: its process or machine is gone.",
        _trigger({HEARTBEAT}, {HEARTBEAT, CANCELLING} | ENDS, dead_after),
        ChangeFlowRunState(
            state=StateType.CRASHED,
            name="Crashed",
            message="no sign of life any more: its process or machine is gone. The next run copies what is left",
            force=False,
        ),
    )


def cancellation_ending(dead_after: timedelta = DEAD_AFTER) -> AutomationCore:
    """Return the automation that ends a cancelled run whose process is gone: Prefect lets it end as nothing else."""
    return _ended(
        LEFT,
        "Marks a run as cancelled that was to be, and has not ended since: its process or machine is gone.",
        _trigger({CANCELLING}, ENDS, dead_after),
        ChangeFlowRunState(
            state=StateType.CANCELLED,
            name="Cancelled",
            message="its process or machine is gone. The next run copies what is left",
            force=False,
        ),
    )


def _trigger(after: set[str], expect: set[str], within: timedelta) -> EventTrigger:
    return EventTrigger(
        after=after,
        expect=expect,
        match=ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=of_deployments(),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _ended(name: str, description: str, trigger: EventTrigger, action: ChangeFlowRunState) -> AutomationCore:
    return AutomationCore(name=name, description=description, trigger=trigger, actions=[action])


async def make_automations() -> str:
    """Make those that are missing: one that is there may have another time. Return what to print of them."""
    async with get_client() as client:
        return "\n".join([await _make(client, each) for each in (crash_detection(), cancellation_ending())])


async def _make(client: PrefectClient, automation: AutomationCore) -> str:
    if await client.read_automations_by_name(automation.name):
        return f"automation {automation.name!r}: there already"
    return await put_automation(client, automation)


async def put_automation(client: PrefectClient, automation: AutomationCore) -> str:
    """Make an automation, or bring the one of its name up to date; return what to print of it."""
    there = await client.read_automations_by_name(automation.name)
    if not there:
        await client.create_automation(automation)
        return f"automation {automation.name!r}: made"
    first, *more = there
    await client.update_automation(first.id, automation)
    for each in more:
        await client.delete_automation(each.id)
    return f"automation {automation.name!r}: brought up to date"
