"""What each form of a rule means: the guide's table, the eight rules, both layouts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imageferry.config import load, load_text
from imageferry.config.files import Files
from imageferry.model import Configuration, Rule
from imageferry.selection import Platform

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64


def read(
    images: Any,
    environment: Mapping[str, str] | None = None,
    registry: str | None = None,
    namespace: str | None = None,
) -> Configuration:
    text, variables = json.dumps({"images": images}), environment or {}
    return load_text(text, "c.json", registry=registry, namespace=namespace, environment=variables)


def rule(source: str, destination: Any, registry: str | None = None, namespace: str | None = None) -> Rule:
    (found,) = read({source: destination}, registry=registry, namespace=namespace).rules
    return found


def items(found: Rule) -> list[str]:
    return [str(each) for each in found.source.items]


def goals(found: Rule) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.repository.name, each.targets) for each in found.destinations]


class TestTheGuidesTable:
    def test_no_tag_to_no_tag_is_all_tags(self) -> None:
        found = rule("quay.io/coreos/proxy", "quay.io/ruohe/proxy")
        assert (found.source.repository.name, found.source.items, found.source.pattern) == (
            "quay.io/coreos/proxy",
            (),
            None,
        )
        assert goals(found) == [("quay.io/ruohe/proxy", ())]

    def test_one_tag_keeps_its_name(self) -> None:
        found = rule("quay.io/coreos/etcd:v1", "a.example/etcd")
        assert items(found) == ["quay.io/coreos/etcd:v1"]
        assert goals(found) == [("a.example/etcd", ())]

    def test_one_tag_is_renamed(self) -> None:
        assert goals(rule("quay.io/coreos/etcd:v1", "a.example/etcd:stable")) == [("a.example/etcd", ("stable",))]

    def test_several_tags_keep_their_names(self) -> None:
        found = rule("quay.io/coreos/etcd:v1,v2,v3", "a.example/etcd")
        assert [each.tag for each in found.source.items] == ["v1", "v2", "v3"]
        assert goals(found) == [("a.example/etcd", ())]

    @pytest.mark.parametrize("namespace", ["mirror", "mirror/", "mirror/deep"])
    def test_nothing_is_the_default_registry(self, namespace: str) -> None:
        found = rule("quay.io/coreos/etcd", "", registry="a.example", namespace=namespace)
        assert goals(found) == [(f"a.example/{namespace.strip('/')}/etcd", ())]
        assert found.written == ("",)

    def test_nothing_without_a_namespace_is_right_under_the_registry(self) -> None:
        assert goals(rule("quay.io/coreos/etcd:v1", "", registry="a.example")) == [("a.example/etcd", ())]

    def test_nothing_at_docker_hub_without_a_namespace_is_in_its_library(self) -> None:
        assert goals(rule("quay.io/a/etcd", "", registry="index.docker.io")) == [("docker.io/library/etcd", ())]


class TestTheEightRules:
    def test_a_digest_keeps_none_the_same_or_gets_a_tag(self) -> None:
        found = rule(f"quay.io/a/b@{A}", ["x.example/b", f"y.example/b@{A}", "z.example/b:v1", f"w.example/b:v2@{A}"])
        assert items(found) == [f"quay.io/a/b@{A}"]
        assert [targets for _, targets in goals(found)] == [(), (A,), ("v1",), ("v2",)]

    def test_a_pinned_tag_is_a_digest_with_a_name(self) -> None:
        (only,) = rule(f"quay.io/a/b:v1@{A}", "x.example/b").source.items
        assert (only.tag, only.digest) == ("v1", A)

    @pytest.mark.parametrize("source", [f"quay.io/a/b@{A},v1", f"quay.io/a/b:v1,{A}", f"quay.io/a/b:v1,@{A}"])
    def test_a_digest_and_a_tag_are_two(self, source: str) -> None:
        found = rule(source, "x.example/b")
        assert {(each.tag, each.digest) for each in found.source.items} == {("v1", None), (None, A)}

    @pytest.mark.parametrize(
        ("expression", "source"),
        [
            ("a+", "quay.io/a/b:/a+/"),
            ("v{1,2}:x/@y", "quay.io/a/b:/v{1,2}:x/@y/"),
            ("^v0\\.2", "b:/^v0\\.2/"),
        ],
    )
    def test_a_regular_expression_may_hold_anything(self, expression: str, source: str) -> None:
        found = rule(source, "x.example/b")
        assert found.source.pattern is not None
        assert found.source.pattern.expression == expression
        assert found.source.items == ()

    def test_a_port_is_not_a_tag(self) -> None:
        found = rule("localhost:5000/a/b:/x/", "127.0.0.1:300/b")
        assert found.source.repository.name == "localhost:5000/a/b"
        assert goals(found) == [("127.0.0.1:300/b", ())]

    def test_tags_are_paired_left_to_right(self) -> None:
        found = rule("b:v1,v2", "x.example/b:one,two")
        assert items(found) == ["docker.io/library/b:v1", "docker.io/library/b:v2"]
        assert goals(found) == [("x.example/b", ("one", "two"))]

    def test_a_digest_and_a_tag_are_paired(self) -> None:
        assert goals(rule(f"b@{A},v1", f"x.example/b@{A},one")) == [("x.example/b", (A, "one"))]

    def test_a_list_of_destinations(self) -> None:
        assert goals(rule("b:v1", ["x.example/b:t", "y.example/b"])) == [
            ("x.example/b", ("t",)),
            ("y.example/b", ()),
        ]

    def test_a_destination_given_twice_is_taken_once(self) -> None:
        found = rule("team/b", ["x.example/b", "x.example/b", "team/c", "docker.io/team/c"])
        assert found.written == ("x.example/b", "team/c")
        assert len(found.destinations) == 2

    def test_a_tag_given_twice_is_taken_once(self) -> None:
        assert items(rule("b:v1,v2,v1", "x.example/b")) == ["docker.io/library/b:v1", "docker.io/library/b:v2"]
        assert items(rule(f"b@{A},{A}", "x.example/b")) == [f"docker.io/library/b@{A}"]

    @pytest.mark.parametrize("to", ["x.example/b", "[x.example/b, y.example/b]"])
    @pytest.mark.parametrize("head", ["images:\n  ", ""], ids=["images", "rules alone"])
    def test_a_rule_that_stands_twice_alike_is_taken_once(self, tmp_path: Path, head: str, to: str) -> None:
        indent = "  " if head else ""
        text = f"{head}b:v1: {to}\n{indent}c: x.example/c\n{indent}b:v1: {to}\n"
        as_json = '{"b:v1": ["x.example/b"], "c": "x.example/c", "b:v1": ["x.example/b"]}'
        for name, content in (("images.yaml", text), ("images.json", as_json)):
            (tmp_path / name).write_text(content)
            found = load(Files(images=tmp_path / name), environment={})
            assert [each.name for each in found.rules] == ["b:v1", "c"]

    @pytest.mark.parametrize("name", ["docker.io/nginx", "nginx", "index.docker.io/library/nginx"])
    def test_docker_hub_has_one_name(self, name: str) -> None:
        assert rule(name, "x.example/nginx").source.repository.name == "docker.io/library/nginx"

    def test_a_rule_may_rename_within_its_repository(self) -> None:
        assert goals(rule("x.example/b:v1", "x.example/b:stable")) == [("x.example/b", ("stable",))]


class TestLayouts:
    def test_the_same_source_tag_may_go_to_one_place_by_several_rules(self) -> None:
        target = "quay.io/ruohe/proxy"
        found = read({"quay.io/a/proxy": target, "quay.io/a/proxy:v1": target, "quay.io/a/proxy:v1,v2": target})
        assert [each.name for each in found.rules] == [
            "quay.io/a/proxy",
            "quay.io/a/proxy:v1",
            "quay.io/a/proxy:v1,v2",
        ]

    def test_a_list_names_a_source_several_times(self) -> None:
        entry = {"from": "b:v1", "to": "x.example/b"}
        found = read([entry, {**entry, "to": ["y.example/b"]}, entry, {"from": "c", "to": "x.example/c"}])
        assert [each.name for each in found.rules] == ["b:v1", "b:v1 (2)", "b:v1 (3)", "c"]

    def test_platforms_of_a_rule(self) -> None:
        platforms = ["linux/amd64", "linux/arm64:v8", "windows:10.0/amd64", "linux/*"]
        (found,) = read([{"from": "b", "to": "x.example/b", "platforms": platforms}]).rules
        assert found.platforms.platforms == (
            Platform("linux", None, "amd64"),
            Platform("linux", None, "arm64", "v8"),
            Platform("windows", "10.0", "amd64"),
            Platform("linux"),
        )

    def test_the_order_is_the_files(self) -> None:
        names = [f"quay.io/a/r{number}" for number in (3, 1, 2)]
        assert [each.name for each in read(dict.fromkeys(names, "x.example/all")).rules] == names


class TestVariables:
    def test_braces_are_filled_in_anywhere(self) -> None:
        environment = {"HOST": "x.example:5000", "TAG": "v2"}
        (found,) = read({"b:v1": ["${HOST}/mirror/b:${TAG}-x"]}, environment).rules
        assert goals(found) == [("x.example:5000/mirror/b", ("v2-x",))]
        assert found.written == ("${HOST}/mirror/b:${TAG}-x",)

    @pytest.mark.parametrize("text", ["$HOST/mirror/b:$TAG", "$HOST/$PART/b:${TAG}", "${HOST}/mirror/b:v$NUMBER"])
    def test_at_a_destination_the_braces_may_be_left_out(self, text: str) -> None:
        environment = {"HOST": "x.example:5000", "PART": "mirror", "TAG": "v2\n", "NUMBER": "2"}
        (found,) = read({"b:v1": [text]}, environment).rules
        assert goals(found) == [("x.example:5000/mirror/b", ("v2",))]
        assert found.written == (text,)


class TestExpressions:
    def test_the_tag_that_an_expression_matches_may_get_another_name(self) -> None:
        (found,) = read({"b:/^v1$/": ["x.example/b:stable", "docker.io/library/b:stable", "y.example/b"]}).rules
        assert [each.targets for each in found.destinations] == [("stable",), ("stable",), ()]

    def test_a_run_for_that_tag_alone_keeps_the_name(self) -> None:
        found = read({"b:/^v1$/": "x.example/b:stable"}).only("b:/^v1$/", ["v1"]).rules[0]
        assert [each.tag for each in found.source.items] == ["v1"]
        assert found.destinations[0].targets == ("stable",)


def test_ten_thousand_rules_are_as_many_rules() -> None:
    images = {f"quay.io/team/r{n}:v1,v2": [f"x.example/r{n}", f"y.example/r{n}:a,b"] for n in range(10_000)}
    text = "images:\n" + "".join(f"  {source}: {json.dumps(to)}\n" for source, to in images.items())
    assert len(load_text(text, "many.yaml", environment={}).rules) == len(read(images).rules) == 10_000
