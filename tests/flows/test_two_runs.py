"""Several runs in one process: a user's own flow that awaits `sync` more than once."""

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from testkit.command_line import CommandLine, insecure
from testkit.killing import Gate, wait_until
from testkit.prefect.api import TERMINAL, PrefectApi
from testkit.prefect.server import PrefectServer, running_server
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry

TAGS = 3

#: A user's program: runs what follows, and prints as JSON how each run ended.
PROGRAM = """\
import asyncio, json, sys, time, urllib.request
from prefect import flow
from prefect.settings import get_current_settings
from flows.sync import sync

def ended(state):
    return [state.type.value, str(state.state_details.flow_run_id), state.message]

"""


def configure(command: CommandLine, name: str, source: FakeRegistry, destination: FakeRegistry) -> None:
    """Write a configuration of one rule, whose repository has the configuration's name."""
    for tag in range(TAGS):
        source.image(f"demo/{name}", f"v{tag}", [f"{name} {tag}".encode()])
    images = {f"{source.host}/demo/{name}": f"{destination.host}/mirror/{name}"}
    command.config({"auth": insecure(source.host, destination.host), "images": images}, f"{name}.json")


def start(command: CommandLine, program: str) -> "subprocess.Popen[str]":
    """Start the user's program."""
    (command.folder / "program.py").write_text(PROGRAM + textwrap.dedent(program))
    return subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=command.folder,
        env=command.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(command: CommandLine, program: str) -> Any:
    """Run the user's program; return what it printed."""
    finished = command.finish(start(command, program))
    assert finished.status == 0, finished.both
    return json.loads(finished.out.splitlines()[-1])


def has_all(destination: FakeRegistry, name: str) -> bool:
    """Whether every tag of a configuration has been copied."""
    return sorted(destination.tags(f"mirror/{name}")) == [f"v{tag}" for tag in range(TAGS)]


def assert_recorded(api: PrefectApi, identity: str) -> None:
    """Every step of a run, and the run of its rule, has a final state; each tag has a task run."""
    (rule,) = api.subflows(identity)
    assert rule["state_type"] == "COMPLETED"
    wanted = sorted(["plan", "report", *(f"copy v{tag}" for tag in range(TAGS))])

    def recorded() -> bool:
        found = api.task_runs(identity)
        return sorted(each["name"] for each in found if each["state_type"] in TERMINAL) == wanted

    wait_until(recorded, f"the task runs {wanted} of {identity}")


def test_a_flow_that_awaits_sync_twice_copies_both_configurations(
    command: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for name in ("a", "b"):
        configure(command, name, fake_source, fake_destination)
    states = run(
        command,
        """
        @flow
        async def mine():
            return [ended(await sync(config=f"{name}.json", return_state=True)) for name in "ab"]

        print(json.dumps(asyncio.run(mine())))
        """,
    )
    assert [state[0] for state in states] == ["COMPLETED", "COMPLETED"]
    assert has_all(fake_destination, "a")
    assert has_all(fake_destination, "b")
    for _, identity, message in states:
        assert f"{TAGS} copied" in message
        assert_recorded(prefect_server, identity)


def test_the_second_run_takes_its_own_parameters(
    command: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    configure(command, "a", fake_source, fake_destination)
    states = run(
        command,
        """
        @flow
        async def mine():
            first = ended(await sync(config="a.json", dry_run=True, return_state=True))
            second = ended(await sync(config="a.json", return_state=True))
            missing = ended(await sync(config="missing.json", return_state=True))
            return [first, second, missing]

        print(json.dumps(asyncio.run(mine())))
        """,
    )
    assert [state[0] for state in states] == ["COMPLETED", "COMPLETED", "FAILED"]
    assert f"{TAGS} would be copied" in states[0][2]
    assert f"{TAGS} copied" in states[1][2]
    assert "missing.json" in states[2][2]
    assert has_all(fake_destination, "a")


def test_two_runs_at_the_same_time_keep_apart(
    command: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for name in ("a", "b"):
        configure(command, name, fake_source, fake_destination)
    states = run(
        command,
        """
        @flow
        async def mine():
            runs = [sync(config=f"{name}.json", return_state=True) for name in "ab"]
            return [ended(state) for state in await asyncio.gather(*runs)]

        print(json.dumps(asyncio.run(mine())))
        """,
    )
    assert [state[0] for state in states] == ["COMPLETED", "COMPLETED"]
    for name, (_, identity, message) in zip("ab", states, strict=True):
        assert has_all(fake_destination, name)
        assert f"{TAGS} copied" in message
        assert_recorded(prefect_server, identity)


def test_a_rule_alone_may_be_run_twice(
    command: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for name in ("a", "b"):
        configure(command, name, fake_source, fake_destination)
    states = run(
        command,
        f"""
        from flows.sync_rule import sync_rule

        async def mine():
            rules = [(f"{fake_source.host}/demo/{{name}}", f"{{name}}.json") for name in "ab"]
            return [ended(await sync_rule(*rule, return_state=True)) for rule in rules]

        print(json.dumps(asyncio.run(mine())))
        """,
    )
    assert [state[0] for state in states] == ["COMPLETED", "COMPLETED"]
    assert has_all(fake_destination, "a")
    assert has_all(fake_destination, "b")


def test_each_attempt_of_a_flow_that_is_retried_opens_a_run_of_its_own(
    command: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for name in ("a", "b", "c"):
        configure(command, name, fake_source, fake_destination)
    images = {f"{fake_source.host}/demo/{name}": f"{fake_destination.host}/mirror/{name}" for name in "ab"}
    command.config({"auth": insecure(fake_source.host, fake_destination.host), "images": images}, "both.json")
    # Refused for good, as far as the engine knows: what failed in the first attempt is not what fails in the second.
    for name in "bc":
        fault = Fault(Match("manifest-get", path=f"demo/{name}"), actions.refuse(403, "DENIED", "not yet"), times=TAGS)
        fake_source.rules.append(fault)
    states = run(
        command,
        f"""
        from flows.sync_rule import sync_rule

        async def mine():
            retried = sync_rule.with_options(retries=1)
            alone = await retried("{fake_source.host}/demo/c", "c.json", return_state=True)
            return [ended(await sync(config="both.json", return_state=True)), ended(alone)]

        sync = sync.with_options(retries=2)
        print(json.dumps(asyncio.run(mine())))
        """,
    )
    assert [state[0] for state in states] == ["COMPLETED", "COMPLETED"], states
    assert states[0][2].startswith(f"{TAGS} copied, {TAGS} up to date, 0 skipped, 0 failed")
    assert states[1][2] == f"{TAGS} images to copy, 0 failed"
    assert all(has_all(fake_destination, name) for name in "abc")
    # A second attempt asks the registries again; a third is not needed.
    assert fake_source.count("tags") == 2 * len("abc")
    assert [prefect_server.flow_run(state[1])["run_count"] for state in states] == [2, 2]
    # The rule that had failed has a subflow in each attempt, whichever place it has among those with work.
    rules = [(each["name"].rpartition("/")[2], each["state_type"]) for each in prefect_server.subflows(states[0][1])]
    assert sorted(rules) == [("a", "COMPLETED"), ("b", "COMPLETED"), ("b", "FAILED")]


def test_a_run_after_one_that_lost_its_server_has_a_complete_history(
    tmp_path: Path, mortal_server: PrefectServer, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    command = CommandLine(tmp_path, mortal_server.api.url, more={"IMAGEFERRY_HISTORY_PATIENCE": "3"})
    for name in ("a", "b"):
        configure(command, name, fake_source, fake_destination)
    gate = Gate()
    fake_source.rules.append(Fault(Match("manifest-get", path="demo/a"), gate.action()))
    process = start(
        command,
        """
        def back():
            try:
                with urllib.request.urlopen(get_current_settings().api.url + "/health", timeout=2):
                    return True
            except OSError:
                return False

        async def mine():
            try:
                await sync(config="a.json", return_state=True)
            except Exception as error:
                print("lost", type(error).__name__, file=sys.stderr)
            while not back():
                await asyncio.sleep(0.2)
            return ended(await sync(config="b.json", return_state=True))

        print(json.dumps(asyncio.run(mine())))
        """,
    )
    try:
        gate.reached.wait(60)
        mortal_server.process.kill()
        mortal_server.process.wait()
        gate.opened.set()
        wait_until(lambda: has_all(fake_destination, "a"), "all tags of a")
        # Long enough for the first run to have given the server up.
        time.sleep(5)
        with running_server(mortal_server.home, port=mortal_server.port) as server:
            finished = command.finish(process)
            assert finished.status == 0, finished.both
            kind, identity, message = json.loads(finished.out.splitlines()[-1])
            assert kind == "COMPLETED", finished.both
            assert f"{TAGS} copied" in message
            assert has_all(fake_destination, "b")
            assert_recorded(server.api, identity)
    finally:
        gate.opened.set()
        process.kill()


def test_rules_that_end_in_another_order_than_they_began_are_all_completed(
    command: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    rules = ("first", "second", "third")
    for rule in rules:
        fake_source.image(f"demo/{rule}", "v1", [rule.encode()])
    # The first rule to begin is not the last to end, and not the first.
    for rule, seconds in zip(rules, (1.0, 2.0, 0.0), strict=True):
        fake_source.rules.append(Fault(Match("manifest-get", path=f"demo/{rule}"), actions.delay(seconds)))
    hosts = fake_source.host, fake_destination.host
    images = {f"{hosts[0]}/demo/{rule}": f"{hosts[1]}/mirror/{rule}" for rule in rules}
    command.config({"auth": insecure(*hosts), "images": images})
    finished = command.run("--report", "report.json")
    assert finished.status == 0, finished.both
    subflows = prefect_server.subflows(command.report()["flow_run_id"])
    assert [(run["state_type"], run["state"]["message"]) for run in subflows] == [
        ("COMPLETED", "1 image to copy, 0 failed")
    ] * len(rules)
