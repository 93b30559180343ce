"""`--only`: some rules of a configuration, chosen by a text of their sources."""

from typing import Any

import pytest

from flows.sync import select_rules
from imageferry.config import load_text
from imageferry.model import RuleNotFound
from testkit.command_line import CommandLine, insecure
from testkit.prefect.api import PrefectApi
from testkit.registries.inprocess import FakeRegistry


def configure(command: CommandLine, source: FakeRegistry, destination: FakeRegistry, *names: str) -> None:
    """Have each of these repositories copied by a rule of its own."""
    for name in names:
        source.image(f"demo/{name}", "v1", [name.encode()])
    images = {f"{source.host}/demo/{name}": f"{destination.host}/mirror/{name}" for name in names}
    command.config({"auth": insecure(source.host, destination.host), "images": images})


def copied(report: dict[str, Any]) -> list[str]:
    """The repositories of which something was copied, and nothing else was reported."""
    assert {image["outcome"] for image in report["images"]} == {"copied"}
    return sorted(image["source"].partition("/demo/")[2] for image in report["images"])


def test_the_rules_whose_source_has_one_of_the_texts(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    configure(without_prefect, fake_source, fake_destination, "etcd", "etcd-dev", "flannel", "proxy")
    words = ("--no-history", "--quiet", "--report", "report.json")
    finished = without_prefect.run(*words, "--only", "demo/etcd", "--only", "annel")
    assert finished.status == 0, finished.both
    assert copied(without_prefect.report()) == ["etcd-dev:v1", "etcd:v1", "flannel:v1"]
    assert fake_destination.tags("mirror/proxy") == []
    assert not [entry for entry in fake_source.log.entries() if "proxy" in entry.path]


def test_a_run_with_a_history_does_and_records_the_same(
    command: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    configure(command, fake_source, fake_destination, "etcd", "proxy")
    finished = command.run("--only", "etcd", "--report", "report.json")
    assert finished.status == 0, finished.both
    report = command.report()
    assert copied(report) == ["etcd:v1"]
    assert fake_destination.tags("mirror/proxy") == []
    recorded = prefect_server.flow_run(report["flow_run_id"])
    assert (recorded["state_type"], recorded["parameters"]["only"]) == ("COMPLETED", ["etcd"])
    (rule,) = prefect_server.subflows(report["flow_run_id"])
    assert rule["name"] == f"{fake_source.host}/demo/etcd"


def test_the_flow_takes_no_text_that_fits_no_rule_either() -> None:
    configuration = load_text("images: {a.example/etcd: b.example/etcd, a.example/x: b.example/x}", "c", environment={})
    assert select_rules(configuration, None) == select_rules(configuration, []) == ["a.example/etcd", "a.example/x"]
    assert select_rules(configuration, ["etcd"]) == ["a.example/etcd"]
    with pytest.raises(RuleNotFound, match=r"no rule's source contains 'etdc'; nearest: a\.example/etcd"):
        select_rules(configuration, ["x", "etdc"])


@pytest.mark.parametrize("more", [["--no-history"], []])
def test_a_text_that_fits_no_rule_is_an_error_of_usage(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry, more: list[str]
) -> None:
    configure(without_prefect, fake_source, fake_destination, "etcd", "flannel", "proxy", "registry")
    fake_source.clear_log()
    finished = without_prefect.run(*more, "--only", "proxy", "--only", "etdc", "--only", "", "--proc", "0")
    assert finished.status == 2, finished.both
    lines = finished.err.splitlines()
    assert lines[0] == "imageferry: --proc 0: expected 1 or more"
    nearest = f"imageferry: --only etdc: no rule's source contains 'etdc'; nearest: {fake_source.host}/demo/etcd, "
    assert lines[1].startswith(nearest)
    assert lines[2] == "imageferry: --only : expected a part of a rule's source"
    assert len(lines) == 3
    assert len(fake_source.log) == len(fake_destination.log) == 0
