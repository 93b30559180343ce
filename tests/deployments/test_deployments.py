"""The deployments: what `make deploy` and `deployments.serve` put on a server, and what that server does with it."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from rich.text import Text

from deployments import serve
from flows.parameters import PlatformText
from imageferry.project_folder import enter_project
from imageferry.selection import PlatformFilter
from orchestration.deployments import automations
from orchestration.deployments.definition import CONFIG, NIGHTLY, TIMEZONE
from testkit.command_line import ROOT, insecure
from testkit.prefect.api import PrefectApi
from testkit.prefect.programs import Programs
from testkit.registries.exchange import Call, Reply
from testkit.registries.fault_rules import Action, Fault, Proceed
from testkit.registries.inprocess import FakeRegistry

# One process has the server with the deployments, and its worker: to set them up takes half a minute.
pytestmark = pytest.mark.xdist_group("deployments")

NAMES = ("sync/scheduled", "sync/ad-hoc", "sync-rule/worker")


def held(until: threading.Event) -> Action:
    """Keep a request waiting for the event."""

    async def act(call: Call, proceed: Proceed) -> Reply:
        await asyncio.to_thread(until.wait, 240)
        return await proceed(call)

    return act


def config(folder: Path, source: FakeRegistry, destination: FakeRegistry, *tags: str) -> str:
    for tag in tags:
        source.image("demo/app", tag, [f"layer {tag}".encode()])
    path = folder / "config.yaml"
    images = {f"{source.host}/demo/app:{tag}": f"{destination.host}/mirror/app" for tag in tags}
    path.write_text(yaml.safe_dump({"auth": insecure(source.host, destination.host), "images": images}))
    return str(path)


def test_what_is_deployed_is_what_prefect_yaml_says(deployed: Programs, prefect_server: PrefectApi) -> None:
    scheduled, ad_hoc, rule = (prefect_server.deployment(name) for name in NAMES)
    (schedule,) = scheduled["schedules"]
    assert schedule["schedule"]["cron"] == "0 2 * * *"
    assert schedule["schedule"]["timezone"] == "UTC"
    assert scheduled["global_concurrency_limit"]["limit"] == 1
    assert scheduled["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert ad_hoc["schedules"] == rule["schedules"] == []
    for each in (scheduled, ad_hoc, rule):
        assert each["work_pool_name"] == "imageferry"
        assert each["enforce_parameter_schema"]
        properties = each["parameter_openapi_schema"]["properties"]
        assert all(field.get("description") for field in properties.values()), properties


def test_imageferry_deploy_in_a_checkout_deploys_prefect_yaml_as_it_stands(
    deployed: Programs, prefect_server: PrefectApi
) -> None:
    finished = deployed.run("imageferry", "deploy")
    assert finished.status == 0, finished.both
    assert "work pool imageferry: there already" in finished.out
    found = prefect_server.send("POST", "automations/filter", {}).raise_for_status().json()
    assert {automations.DIED, automations.LEFT} <= {each["name"] for each in found}
    for name in NAMES:
        deployment = prefect_server.deployment(name)
        assert deployment["parameters"]["config"] == "config.json"
        (step,) = deployment["pull_steps"]
        assert step == {"imageferry.project_folder.enter_project": {"directory": str(ROOT)}}


def test_the_refusal_of_a_platform_is_text_that_rich_prints_as_it_is() -> None:
    """`prefect deployment run` prints the pattern that a parameter does not match as Rich's markup."""
    schema = TypeAdapter(PlatformText).json_schema()
    assert Text.from_markup(schema["pattern"]).plain == schema["pattern"]


def test_a_worker_without_the_deployers_folder_takes_its_own_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    gone = str(tmp_path / "checkout")
    assert enter_project(gone) == {"directory": str(ROOT)}
    assert Path.cwd() == ROOT
    assert f"there is no Imageferry in {gone} here: the run takes that of {ROOT}" in capsys.readouterr().out
    flows = tmp_path / "checkout" / "flows"
    flows.mkdir(parents=True)
    (flows / "sync.py").touch()
    assert enter_project(gone) == {"directory": gone}
    assert Path.cwd() == tmp_path / "checkout"


def test_what_is_served_is_what_prefect_yaml_says() -> None:
    written = {each["name"]: each for each in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    served = {each.name: each for each in serve.deployments(CONFIG, NIGHTLY, TIMEZONE)}
    assert set(served) == set(written)
    (schedule,) = served["scheduled"].schedules or []
    assert schedule.schedule is not None
    assert schedule.schedule.model_dump(include={"cron", "timezone"}) == {
        key: written["scheduled"]["schedules"][0][key] for key in ("cron", "timezone")
    }
    limit = written["scheduled"]["concurrency_limit"]
    assert served["scheduled"].concurrency_limit == limit["limit"]
    assert served["scheduled"].concurrency_options is not None
    assert served["scheduled"].concurrency_options.collision_strategy == limit["collision_strategy"]


@pytest.mark.parametrize(
    ("deployment", "parameters", "field"),
    [
        ("sync/ad-hoc", {"platforms": ["linux"]}, "linux"),
        ("sync/ad-hoc", {"platforms": ["linux/amd64", "linux/arm 64"]}, "linux/arm 64"),
        ("sync/ad-hoc", {"platforms": "linux/amd64"}, "linux/amd64"),
        ("sync/ad-hoc", {"config": ""}, "config"),
        ("sync/ad-hoc", {"only": [""]}, "only"),
        ("sync/ad-hoc", {"dry_run": "maybe"}, "maybe"),
        ("sync-rule/worker", {"config": "config.json"}, "rule"),
        ("sync-rule/worker", {"rule": "", "config": "config.json"}, "rule"),
    ],
)
def test_a_bad_parameter_is_refused_before_there_is_a_run(
    deployed: Programs, prefect_server: PrefectApi, deployment: str, parameters: dict[str, Any], field: str
) -> None:
    answer = prefect_server.start(deployment, **parameters)
    assert answer.status_code == 409, answer.text
    assert field in answer.text or "non-empty" in answer.text or "too short" in answer.text, answer.text


_PART = st.from_regex(r"[A-Za-z0-9_.+-]+|\*", fullmatch=True)
_WITH = st.one_of(_PART, st.tuples(_PART, st.sampled_from(":/"), _PART).map("".join))


@given(st.lists(st.one_of(_PART, st.tuples(_PART, _PART).map(":".join))), st.lists(_WITH))
def test_every_platform_of_the_command_line_is_a_good_parameter(systems: list[str], architectures: list[str]) -> None:
    texts = [str(platform) for platform in PlatformFilter.of(systems, architectures).platforms]
    assert TypeAdapter(list[PlatformText]).validate_python(texts) == texts


def test_an_ad_hoc_run_does_what_its_parameters_say(
    worker: Programs, prefect_server: PrefectApi, tmp_path: Path, fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
) -> None:  # fmt: skip
    path = config(tmp_path, fake_source, fake_destination, "v1", "v2")
    asked = {"config": path, "only": ["demo/app:v2"], "platforms": ["linux/amd64"]}
    planned = prefect_server.ended(prefect_server.start("sync/ad-hoc", **asked, dry_run=True).json()["id"])
    assert planned["state_type"] == "COMPLETED", prefect_server.logs(planned["id"])
    assert fake_destination.tags("mirror/app") == []
    run = prefect_server.ended(prefect_server.start("sync/ad-hoc", **asked).json()["id"])
    assert run["state"]["message"].startswith("1 copied"), prefect_server.logs(run["id"])
    assert fake_destination.tags("mirror/app") == ["v2"]


def test_a_run_that_is_still_at_work_lets_the_next_one_pass(
    worker: Programs, prefect_server: PrefectApi, tmp_path: Path, fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
) -> None:  # fmt: skip
    path = config(tmp_path, fake_source, fake_destination, "v1")
    go_on = threading.Event()
    fake_source.rules.append(Fault("blob-get", held(go_on)))
    first = prefect_server.start("sync/scheduled", config=path).json()["id"]
    begun = time.monotonic()
    while not fake_source.count("blob-get"):
        assert time.monotonic() - begun < 120, prefect_server.logs(first)
        time.sleep(0.1)
    try:
        second = prefect_server.ended(prefect_server.start("sync/scheduled", config=path).json()["id"])
        assert second["state_type"] == "CANCELLED"
        assert "concurrency" in second["state"]["message"].lower()
        assert prefect_server.flow_run(first)["state_type"] == "RUNNING"
    finally:
        go_on.set()
    assert prefect_server.ended(first)["state_type"] == "COMPLETED"
    third = prefect_server.ended(prefect_server.start("sync/scheduled", config=path).json()["id"])
    assert third["state"]["message"].startswith("0 copied, 1 up to date")


def test_one_machine_serves_all_without_a_worker_from_any_folder(
    deployed: Programs, prefect_server: PrefectApi, tmp_path: Path, fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
) -> None:  # fmt: skip
    config(tmp_path, fake_source, fake_destination, "v1")
    words = ("deployments.serve", "--config", "config.yaml", "--cron", "30 3 * * 1", "--timezone", "Europe/Berlin")
    refused = deployed.run(*words)
    assert refused.status == 2, refused.both
    assert f"{', '.join(NAMES)}: belong to a work pool" in refused.err
    for name in NAMES:
        prefect_server.delete_deployment(name)
    try:
        with deployed.running(*words, until="being served", folder=tmp_path):
            (scheduled,) = prefect_server.deployment("sync/scheduled")["schedules"]
            assert scheduled["schedule"]["cron"] == "30 3 * * 1"
            assert scheduled["schedule"]["timezone"] == "Europe/Berlin"
            assert prefect_server.start("sync/ad-hoc", platforms=["linux"]).status_code == 409
            run = prefect_server.ended(prefect_server.start("sync/ad-hoc").json()["id"])
            assert run["state"]["message"].startswith("1 copied"), prefect_server.logs(run["id"])
    finally:
        again = deployed.run("prefect", "--no-prompt", "deploy", "--all")
        assert again.status == 0, again.both
    # `make deploy` takes them over, schedule and all.
    scheduled = prefect_server.deployment("sync/scheduled")
    assert scheduled["work_pool_name"] == "imageferry"
    assert [each["schedule"]["cron"] for each in scheduled["schedules"]] == ["0 2 * * *"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cron", "sometimes"], "is no cron line"),
        (["--timezone", "Europe/Nowhere"], "is no time zone"),
    ],
)
def test_what_cannot_be_served_is_told(programs: Programs, words: list[str], told: str) -> None:
    finished = programs.run("deployments.serve", *words)
    assert finished.status == 2, finished.both
    assert told in finished.err
    assert "Traceback" not in finished.both
