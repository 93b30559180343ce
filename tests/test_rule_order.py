"""Which rules follow which, from what they read and write."""

import pytest

from imageferry import rule_order
from imageferry.config import load_text
from imageferry.rule_order import Overlap, TagSet, upstream_rules

X = "sha256:" + "a" * 64


def follows(*rules: tuple[str, str]) -> dict[str, list[str]]:
    """Return by each rule's source those that it follows, of rules of one line each."""
    text = "images:\n" + "".join(f"- {{from: '{source}', to: '{to}'}}\n" for source, to in rules)
    found = load_text(text, "c.yaml", environment={}).rules
    return {name: list(others) for name, others in upstream_rules(found).items()}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a.example/app:v1", "b.example/app:v1"),
        ("a.example/app:v1,v2", "b.example/app:v2,v3"),
        ("a.example/app", "b.example/app:v1"),
        ("a.example/app:v1", "b.example/app"),
        ("a.example/app", "b.example/app"),
        ("a.example/app:/^v/", "b.example/app:v1"),
        ("a.example/app:v1", "b.example/app:/^v/"),
        ("a.example/app:/^v/", "b.example/app:/^v/"),
        ("a.example/app:/^v/", "b.example/app:/1$/"),
        ("a.example/app:/^v/", "b.example/app"),
        (f"a.example/app@{X}", f"b.example/app@{X}"),
        ("a.example/app:v1", f"b.example/app@{X}"),
        ("a.example/app:v1", f"b.example/app:v2@{X}"),
        (f"a.example/app:v1@{X}", "b.example/app:v1"),
    ],
)
def test_a_rule_follows_the_one_that_writes_what_it_reads_wherever_they_stand(written: str, read: str) -> None:
    first, second = (written, "b.example/app"), (read, "c.example/app")
    assert follows(first, second) == {read: [written]}
    assert follows(second, first) == {read: [written]}


@pytest.mark.parametrize(
    ("written", "to", "read"),
    [
        ("a.example/app:v1", "b.example/app", "b.example/app:v2"),
        ("a.example/app:v1", "b.example/app:v2", "b.example/app:v1"),
        ("a.example/app:v1", "b.example/app:v2", "b.example/app:/^v1$/"),
        ("a.example/app:/^v/", "b.example/app", "b.example/app:w1"),
        # All tags are of no use to who wants them all by their digests, and the other way round.
        (f"a.example/app@{X}", "b.example/app", "b.example/app"),
        ("a.example/app", "b.example/other", "b.example/app"),
    ],
)
def test_a_rule_does_not_follow_one_that_writes_something_else(written: str, to: str, read: str) -> None:
    assert follows((written, to), (read, "c.example/app")) == {}


def test_the_names_of_a_registry_and_of_docker_hub_are_one() -> None:
    assert follows(("a.example/b", "index.docker.io/library/app"), ("app:v1", "c.example/app")) == {
        "app:v1": ["a.example/b"]
    }


def test_rules_into_each_other_with_other_tags_are_no_circle() -> None:
    assert follows(("a.example/x:v1", "b.example/x"), ("b.example/x:v2", "a.example/x")) == {}


def test_of_two_that_may_read_each_other_the_later_follows() -> None:
    one, two = ("a.example/x:/^a/", "b.example/x"), ("b.example/x:/b$/", "a.example/x")
    assert follows(one, two) == {two[0]: [one[0]]}
    assert follows(two, one) == {one[0]: [two[0]]}


def test_what_may_be_read_makes_no_circle_with_what_is_read_for_certain() -> None:
    one, two = (f"b.example/x:v1,{X}", "a.example/x"), ("a.example/x:v1", "b.example/x:v9")
    assert follows(one, two) == {two[0]: [one[0]]}


def test_a_chain_and_several_upstreams() -> None:
    rules = [
        ("d.example/x", "e.example/x"),
        ("b.example/x:v1", "d.example/x"),
        ("c.example/x:v2", "d.example/x"),
        ("a.example/x", "b.example/x"),
    ]
    assert follows(*rules) == {
        "d.example/x": ["b.example/x:v1", "c.example/x:v2"],
        "b.example/x:v1": ["a.example/x"],
    }


def test_many_rules_by_way_of_one_repository_are_not_compared_each_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = list[TagSet]()
    original = rule_order.overlap

    def counted(written: TagSet, read: TagSet) -> Overlap:
        compared.append(read)
        return original(written, read)

    monkeypatch.setattr(rule_order, "overlap", counted)
    rules = [(f"a.example/x:v{n}", "b.example/x") for n in range(100)]
    rules += [(f"b.example/x:v{n}", "c.example/x") for n in range(100)]
    assert len(follows(*rules)) == 100
    # Once for the circles, and once for the order.
    assert len(compared) == 200
