"""A message when a run of Imageferry failed, crashed or died: `python -m deployments.notifications --url https://…`.

It makes a webhook block and two automations, or brings existing ones up to date.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import App, Parameter
from prefect.automations import AutomationCore
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.types import SecretDict
from pydantic import SecretStr

from deployments.server import run_on_server

BLOCK = "imageferry-notifications"
FAILED = "Imageferry: tell of runs that failed"
DIED = "Imageferry: find runs that died"

# Events of a run that ended badly, and of all ends.
BAD_ENDS = {f"prefect.flow-run.{name}" for name in ("Failed", "Crashed", "TimedOut")}
ENDS = BAD_ENDS | {f"prefect.flow-run.{name}" for name in ("Completed", "Cancelled", "Cancelling")}
HEARTBEAT = "prefect.flow-run.heartbeat"

# More than two of the heartbeats of a run: PREFECT_FLOWS_HEARTBEAT_FREQUENCY is 180 s where nothing is set.
DEAD_AFTER = timedelta(minutes=7)

# JSON that Slack, Mattermost, Rocket.Chat and Google Chat take as a message. Line breaks in the values are escaped.
MESSAGE = """\
{%- set page = " " ~ (flow_run|ui_url) if flow_run|ui_url else "" -%}
{"text": {{ ("Imageferry: " ~ flow.name ~ "/" ~ deployment.name ~ ", run " ~ flow_run.name ~ ": " ~ flow_run.state.name
  ~ ". " ~ (flow_run.state.message or "") ~ page) | tojson }}}
"""

app = App(
    name="python -m deployments.notifications",
    help="Have Prefect call a webhook where a run of a deployment of sync failed, crashed or died.",
)


def _of_deployments() -> list[ResourceSpecification | dict[str, str | list[str]]]:
    """Return the related resources of the events of these runs. Runs of single rules are not reported beside theirs."""
    return [
        ResourceSpecification.model_validate({"prefect.resource.role": "flow", "prefect.resource.name": "sync"}),
        # A heartbeat does not name its deployment, so any deployment of this flow matches: a run by hand has none.
        ResourceSpecification.model_validate({"prefect.resource.id": "prefect.deployment.*"}),
    ]


def failure_notification(webhook: CallWebhook) -> AutomationCore:
    """Return the automation that calls the webhook once for each run that ended badly."""
    return AutomationCore(
        name=FAILED,
        description="Calls the webhook where a run of a deployment of sync failed or crashed.",
        trigger=EventTrigger(
            expect=BAD_ENDS,
            match=ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=_of_deployments(),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[webhook],
    )


def crash_detection(dead_after: timedelta) -> AutomationCore:
    """Return the automation that marks a run as crashed when its heartbeats cease; the other one then reports it."""
    return AutomationCore(
        name=DIED,
        description="Marks a run as crashed that gives no sign of life any more: its process or machine is gone.",
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT} | ENDS,
            match=ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=_of_deployments(),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=dead_after,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message="no sign of life any more: its process or machine is gone. The next run copies what is left",
                force=False,
            )
        ],
    )


async def apply(url: str, dead_after: timedelta = DEAD_AFTER) -> str:
    """Make the block and both automations, or bring them up to date; return what to print of them."""
    block = Webhook(
        method="POST", url=SecretStr(url), headers=SecretDict({"Content-Type": "application/json; charset=utf-8"})
    )
    async with get_client() as client:
        identity = await block.save(BLOCK, overwrite=True, client=client)
        webhook = CallWebhook(block_document_id=identity, payload=MESSAGE)
        made = [await _put(client, each) for each in (failure_notification(webhook), crash_detection(dead_after))]
    return "\n".join([f"block webhook/{BLOCK}: as asked for", *made])


async def _put(client: PrefectClient, automation: AutomationCore) -> str:
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


def _check_address(_type: object, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # It may hold a token: it is not repeated.
        raise ValueError("it is no web address: expected https://…")


@app.default
def main(
    *,
    url: Annotated[
        str,
        Parameter(
            env_var="IMAGEFERRY_NOTIFICATIONS_URL",
            validator=_check_address,
            help="The webhook that takes a message, such as one of Slack's",
        ),
    ],
    dead_after: Annotated[
        timedelta, Parameter(help="After how long without a sign of life a run counts as dead, such as 7m")
    ] = DEAD_AFTER,
) -> int:
    """Make the webhook block and the automations, or bring them up to date."""
    return run_on_server(apply(url, dead_after))


if __name__ == "__main__":
    raise SystemExit(app())
