"""A message when a run of Imageferry failed, crashed or died: `python -m deployments.notifications --url https://…`.

It makes a webhook block and four automations, or brings existing ones up to date.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import App, Parameter
from prefect.automations import AutomationCore
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.types import SecretDict
from pydantic import SecretStr

from deployments.server import run_on_server
from orchestration.deployments.automations import (
    DEAD_AFTER,
    cancellation_ending,
    crash_detection,
    of_deployments,
    put_automation,
)

BLOCK = "imageferry-notifications"
FAILED = "Imageferry: tell of runs that failed"
BLOCKED = "Imageferry: tell of runs that were cancelled one after the other"

# Events of a run that ended badly.
BAD_ENDS = {f"prefect.flow-run.{name}" for name in ("Failed", "Crashed", "TimedOut")}

# What Prefect says of a run that is cancelled since another one has the only slot of its deployment.
NO_SLOT = "Deployment concurrency limit reached*"

# Within this, two such runs are reported: the runs of two nights.
BLOCKED_WITHIN = timedelta(hours=50)

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


def failure_notification(webhook: CallWebhook) -> AutomationCore:
    """Return the automation that calls the webhook once for each run that ended badly."""
    return AutomationCore(
        name=FAILED,
        description="Calls the webhook where a run of a deployment of sync failed or crashed.",
        trigger=EventTrigger(
            expect=BAD_ENDS,
            match=ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=of_deployments(),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[webhook],
    )


def blocked_notification(webhook: CallWebhook) -> AutomationCore:
    """Return the automation that calls the webhook where two runs of a deployment in a row were given no slot."""
    return AutomationCore(
        name=BLOCKED,
        description="Calls the webhook where two runs of a deployment of sync were cancelled since one is at work.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Cancelled"},
            match=ResourceSpecification.model_validate(
                {"prefect.resource.id": "prefect.flow-run.*", "prefect.state-message": NO_SLOT}
            ),
            match_related=of_deployments(),
            for_each={"related:deployment:prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=2,
            within=BLOCKED_WITHIN,
        ),
        actions=[webhook],
    )


async def apply(url: str, dead_after: timedelta = DEAD_AFTER) -> str:
    """Make the block and the automations, or bring them up to date; return what to print of them."""
    block = Webhook(
        method="POST", url=SecretStr(url), headers=SecretDict({"Content-Type": "application/json; charset=utf-8"})
    )
    async with get_client() as client:
        identity = await block.save(BLOCK, overwrite=True, client=client)
        webhook = CallWebhook(block_document_id=identity, payload=MESSAGE)
        ours = (failure_notification(webhook), blocked_notification(webhook))
        wanted = (*ours, crash_detection(dead_after), cancellation_ending(dead_after))
        made = [await put_automation(client, each) for each in wanted]
    return "\n".join([f"block webhook/{BLOCK}: as asked for", *made])


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
