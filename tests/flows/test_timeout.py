"""Flows that exceed the time that their `timeout_seconds` give them."""

from testkit.command_line import CommandLine, insecure
from testkit.prefect.api import PrefectApi
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from tests.flows.test_two_runs import run

# More than a blob that is sent in one request, and bytes a second at which it comes: longer than the flow may take.
LARGE = bytes(2_000_000)
SLOW = 50_000


def test_a_flow_out_of_time_stops_in_order_and_leaves_its_report(
    command: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("demo/slow", "v1", [LARGE])
    fake_source.rules.append(Fault(Match("blob-get", path="demo/slow"), actions.slowly(SLOW)))
    hosts = fake_source.host, fake_destination.host
    for name in "ab":
        rules = {f"{hosts[0]}/demo/slow": f"{hosts[1]}/mirror/{name}"}
        command.config({"auth": insecure(*hosts), "images": rules}, f"{name}.json")
    states = run(
        command,
        f"""
        from flows.sync_rule import sync_rule

        async def mine():
            both = [each.with_options(timeout_seconds=5) for each in (sync, sync_rule)]
            of_all = both[0]("a.json", return_state=True)
            of_one = both[1]("{hosts[0]}/demo/slow", "b.json", return_state=True)
            return [ended(state) for state in await asyncio.gather(of_all, of_one)]

        print(json.dumps(asyncio.run(mine())))
        """,
    )
    for name, (kind, identity, message) in zip("ab", states, strict=True):
        assert (kind, message) == ("FAILED", "Flow run exceeded timeout of 5.0 second(s)")
        logs = "\n".join(prefect_server.logs(identity))
        assert f"failed {hosts[0]}/demo/slow:v1 -> {hosts[1]}/mirror/{name}:v1: interrupted" in logs
        assert "client has been closed" not in logs
        assert "Crash detected" not in logs
        assert "## 1 image failed" in prefect_server.artifacts(identity)[f"imageferry-summary-{name}-json"]["data"]
    assert [each["state_type"] for each in prefect_server.subflows(states[0][1])] == ["CANCELLED"]
    assert fake_destination.count("upload-start") > 0
    assert fake_destination.storage.uploads == {}
