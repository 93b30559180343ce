"""A configuration from the command line to the registries and into Prefect."""

import json
from collections import Counter

from testkit.command_line import CommandLine, insecure
from testkit.images.making import ImageMaker
from testkit.images.push import request
from testkit.images.skopeo import skopeo_raw
from testkit.prefect.api import TERMINAL, PrefectApi
from testkit.registries import actions
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry


def test_the_forms_of_the_guide_arrive_under_the_right_names_and_stay(
    command: CommandLine,
    source_registry: DistributionRegistry,
    password_registry: DistributionRegistry,
    image_maker: ImageMaker,
    repository: str,
) -> None:
    source, destination = source_registry.host, password_registry.host
    first, second = image_maker.pair()
    for tag, image in (("v1", first), ("v2", second), ("v3", first)):
        image_maker.push(image, source, repository, tag)
    image_maker.push_index(source, f"{repository}/multi", "latest", ("linux/amd64", "linux/arm64/v8"))
    auth = insecure(source, destination)
    auth[destination] |= {"username": "ferry", "password": "${REGISTRY_PASSWORD}"}
    command.more["REGISTRY_PASSWORD"] = password_registry.password or ""
    command.config(
        {
            "auth": auth,
            "defaults": {"registry": destination, "namespace": repository.partition("/")[0]},
            "images": {
                f"{source}/{repository}": f"{destination}/{repository}/all",
                f"{source}/{repository}:v1": f"{destination}/{repository}/one",
                f"{source}/{repository}:v2": f"{destination}/{repository}/renamed:stable",
                f"{source}/{repository}:v1,v3": [f"{destination}/{repository}/two", f"{destination}/{repository}/2"],
                f"{source}/{repository}:/^v[12]$/": f"{destination}/{repository}/matched",
                f"{source}/{repository}@{first.digest}": f"{destination}/{repository}/pinned:v1",
                f"{source}/{repository}/multi": "",
            },
        }
    )
    finished = command.run("--report", "report.json")
    assert finished.status == 0, finished.both
    expected = {
        f"{repository}/all": {"v1": first, "v2": second, "v3": first},
        f"{repository}/one": {"v1": first},
        f"{repository}/renamed": {"stable": second},
        f"{repository}/two": {"v1": first, "v3": first},
        f"{repository}/2": {"v1": first, "v3": first},
        f"{repository}/matched": {"v1": first, "v2": second},
        f"{repository}/pinned": {"v1": first},
    }
    auth_pair = password_registry.auth
    for name, tags in expected.items():
        listed = json.loads(_get(password_registry, f"/v2/{name}/tags/list"))
        assert sorted(listed["tags"]) == sorted(tags)
        for tag, image in tags.items():
            arrived = skopeo_raw(destination, name, tag, auth_pair)
            assert arrived == skopeo_raw(source, repository, image.digest)
    multi = f"{repository.partition('/')[0]}/multi"
    assert skopeo_raw(destination, multi, "latest", auth_pair) == skopeo_raw(source, f"{repository}/multi", "latest")
    assert Counter(image["outcome"] for image in command.report()["images"]) == {"copied": 13}

    source_registry.clear_log()
    password_registry.clear_log()
    again = command.run("--report", "report.json")
    assert again.status == 0, again.both
    assert Counter(image["outcome"] for image in command.report()["images"]) == {"up_to_date": 13}
    for registry in (source_registry, password_registry):
        counts = registry.counts()
        assert set(counts) <= {"ping", "tags", "manifest-head"}, counts


def _get(registry: DistributionRegistry, path: str) -> bytes:
    return request("GET", registry.host, path, auth=registry.auth).body


def test_every_task_run_of_a_run_is_in_the_database_when_it_returns(
    command: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    tags = 60
    for number in range(tags):
        fake_source.image("demo/app", f"v{number}", [b"shared", f"own {number}".encode()])
    hosts = fake_source.host, fake_destination.host
    command.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    command.more["IMAGEFERRY_BLOB_TASK_SIZE"] = "0"
    finished = command.run("--report", "report.json")
    assert finished.status == 0, finished.both
    report = command.report()
    runs = prefect_server.task_runs(report["flow_run_id"], placeholders=True)
    assert [run["name"] for run in runs if run["state_type"] not in TERMINAL] == []
    runs = prefect_server.task_runs(report["flow_run_id"])
    blobs = fake_destination.count("upload-put")
    assert blobs == report["totals"]["blobs_copied"] == 2 * tags + 1
    names = Counter(run["name"].split()[0] for run in runs)
    assert names == {"plan": 1, "copy": tags, "blob": blobs, "report": 1}
    assert {"copy v0", "copy v59"} <= {run["name"] for run in runs}


def test_the_run_tells_its_story_in_prefect(
    command: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("demo/app", "v1", [b"layer"])
    hosts = fake_source.host, fake_destination.host
    rule = f"{hosts[0]}/demo/app:v1,v9"
    command.config({"auth": insecure(*hosts), "images": {rule: f"{hosts[1]}/mirror/app"}})
    finished = command.run("--report", "report.json")
    assert finished.status == 1, finished.both
    identity = command.report()["flow_run_id"]
    run = prefect_server.flow_run(identity)
    assert run["state_type"] == "FAILED"
    assert run["state"]["message"].startswith("1 copied, 0 up to date, 0 skipped, 1 failed")
    assert run["parameters"]["config"] == "config.json"
    assert run["name"] == "config.json"
    (subflow,) = prefect_server.subflows(identity)
    assert subflow["name"] == rule
    assert subflow["state"]["message"] == "2 images to copy, 1 failed"
    states = {run["name"]: run["state_type"] for run in prefect_server.task_runs(identity)}
    assert states["copy v1"] == "COMPLETED"
    assert states["copy v9"] == "FAILED"
    assert set(run["tags"]) == set(subflow["tags"]) == set(hosts)
    task_runs = prefect_server.task_runs(identity)
    assert [run["name"] for run in task_runs if run["tags"]] == []
    artifacts = prefect_server.artifacts(identity)
    assert set(artifacts) == {"imageferry-summary-config-json", "imageferry-images-config-json"}
    (failed,) = (run["id"] for run in task_runs if run["name"] == "copy v9")
    assert (
        f"[{hosts[0]}/demo/app:v9](../../runs/task-run/{failed})" in artifacts["imageferry-summary-config-json"]["data"]
    )
    rows = json.loads(artifacts["imageferry-images-config-json"]["data"])
    assert [row["outcome"] for row in rows] == ["failed", "copied"]
    assert "404" in rows[0]["error"]
    logs = "\n".join(prefect_server.logs(identity))
    assert "Traceback" not in logs
    assert logs.count(f"failed {hosts[0]}/demo/app:v9 -> ") == 1

    # The rule's own page has its history, one row a run.
    fake_source.image("demo/app", "v9", [b"layer 9"])
    assert command.run("--report", "report.json").status == 0
    (subflow,) = prefect_server.subflows(command.report()["flow_run_id"])
    (table,) = prefect_server.artifacts(subflow["id"]).values()
    counts = [(row["copied"], row["up to date"], row["failed"]) for row in json.loads(table["data"])]
    assert counts == [("1", "1", "0"), ("1", "0", "1")]


def test_what_the_plan_finds_stands_in_the_log_of_the_run(
    command: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    hosts = fake_source.host, fake_destination.host
    images = {f"{hosts[0]}/demo/none{number}": f"{hosts[1]}/mirror/none" for number in range(55)}
    command.config({"auth": insecure(*hosts), "images": images})
    assert command.run("--quiet", "--report", "report.json").status == 1
    logs = prefect_server.logs(command.report()["flow_run_id"])
    told = [line for line in logs if line.startswith("failed ")]
    assert len(told) == len(set(told)) == 50
    assert "and 5 more images failed" in logs


def test_what_the_plan_tells_while_the_flow_begins_brings_no_warning(
    command: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    # The plan began outside the flow; by now prefect is imported and takes the log.
    fake_source.rules.append(Fault("tags", actions.delay(10)))
    hosts = fake_source.host, fake_destination.host
    command.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/none": f"{hosts[1]}/mirror/none"}})
    finished = command.run("--quiet")
    assert finished.status == 1
    assert finished.err == ""


def test_a_rule_that_is_up_to_date_has_no_subflow(
    command: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for registry in (fake_source, fake_destination):
        registry.image("demo/app", "v1", [b"layer"])
    hosts = fake_source.host, fake_destination.host
    command.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/demo/app"}})
    assert command.run("--report", "report.json").status == 0
    identity = command.report()["flow_run_id"]
    assert prefect_server.subflows(identity) == []
    assert set(prefect_server.artifacts(identity)) == {"imageferry-summary-config-json"}


def test_a_configuration_without_rules_is_nothing_to_do(command: CommandLine, prefect_server: PrefectApi) -> None:
    command.config({"images": {}})
    finished = command.run("--quiet", "--report", "report.json")
    assert finished.status == 0, finished.both
    state = prefect_server.flow_run(command.report()["flow_run_id"])["state"]
    assert (state["type"], state["message"]) == ("COMPLETED", "nothing to do: the configuration has no rules")


def test_what_fails_is_named_and_can_be_run_again(
    command: CommandLine, source_registry: DistributionRegistry, fake_destination: FakeRegistry, repository: str,
    image_maker: ImageMaker,
) -> None:  # fmt: skip
    source, destination = source_registry.host, fake_destination.host
    image = image_maker.pair()[0]
    image_maker.push(image, source, repository, "v1")
    command.config(insecure(source, destination), "auth.json")
    command.config(
        {
            f"{source}/{repository}:v1,v2": f"{destination}/a/app",
            f"{source}/{repository}/none": f"{destination}/a/none",
        },
        "images.json",
    )
    files = ("--auth", "auth.json", "--images", "images.json")
    finished = command.run(*files, "--output-failed-images", "failed.yaml", "--output-success-images", "done.yaml")
    assert finished.status == 1
    assert fake_destination.tags("a/app") == ["v1"]
    for name in (f"{source}/{repository}:v2", f"{source}/{repository}/none"):
        assert name in finished.out
    assert "Traceback" not in finished.both
    assert (command.folder / "done.yaml").read_text().split() == [
        f"{source}/{repository}:v1:", "-", f"{destination}/a/app:v1",
    ]  # fmt: skip

    image_maker.push(image, source, repository, "v2")
    image_maker.push(image, source, f"{repository}/none", "v7")
    healed = command.run("--auth", "auth.json", "--images", "failed.yaml", "--report", "report.json")
    assert healed.status == 0, healed.both
    assert sorted(fake_destination.tags("a/app")) == ["v1", "v2"]
    assert fake_destination.tags("a/none") == ["v7"]
    assert len(command.report()["images"]) == 2


def test_a_wrong_password_and_a_refusal_cost_only_their_own_images(
    command: CommandLine,
    fake_source: FakeRegistry,
    password_registry: DistributionRegistry,
    fake_destination: FakeRegistry,
) -> None:
    fake_source.image("demo/app", "v1", [b"layer"])
    source, locked, open_ = fake_source.host, password_registry.host, fake_destination.host
    auth = insecure(source, locked, open_)
    auth[locked] |= {"username": "ferry", "password": "wrong-password"}
    command.config({"auth": auth, "images": {f"{source}/demo/app": [f"{locked}/a/app", f"{open_}/a/app"]}})
    finished = command.run("--report", "report.json")
    assert finished.status == 1
    outcomes = {image["destination"]: image for image in command.report()["images"]}
    assert outcomes[f"{open_}/a/app:v1"]["outcome"] == "copied"
    failed = outcomes[f"{locked}/a/app:v1"]
    assert failed["outcome"] == "failed"
    assert "401" in failed["error"]
    assert "username and password" in failed["error"]
    assert "wrong-password" not in finished.both


def test_a_dry_run_writes_nothing(
    command: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("demo/app", "v1", [b"layer"])
    hosts = fake_source.host, fake_destination.host
    command.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    finished = command.run("--dry-run", "--report", "-")
    assert finished.status == 0, finished.both
    report = json.loads(finished.out)
    assert [(image["outcome"], image["digest"]) for image in report["images"]] == [("would_copy", digest)]
    assert set(fake_destination.counts()) <= {"ping", "tags", "manifest-head", "other"}
    assert fake_source.count("blob-get") == 0
