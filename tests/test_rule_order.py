"""Which rules follow which, from what they read and write."""

import pytest

from imageferry import rule_order
from imageferry.config import ConfigurationError, load_text
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


def with_tags(*rules: tuple[str, str, str]) -> dict[str, list[str]]:
    """Return by each rule's source those that it follows, of rules with the key ``tags``; "" is none."""
    text = "images:\n"
    for source, to, tags in rules:
        text += f"- {{from: '{source}', to: '{to}'{f', tags: {tags}' if tags else ''}}}\n"
    found = load_text(text, "c.yaml", environment={}).rules
    return {name: list(others) for name, others in upstream_rules(found).items()}


@pytest.mark.parametrize(
    ("written", "tags", "read", "read_tags", "follows"),
    [
        ("a.example/x", "[v*]", "b.example/x:v1", "", True),
        ("a.example/x", "[v*]", "b.example/x:w1", "", False),
        ("a.example/x", "{newest: 3}", "b.example/x:1.2", "", True),
        ("a.example/x", "{newest: 3}", "b.example/x:latest", "", False),
        ("a.example/x", "{newest: 3, always: [latest]}", "b.example/x:latest", "", True),
        ("a.example/x", "{newest: 3}", "b.example/x", "", True),
        ("a.example/x", "", "b.example/x", "{newest: 3}", True),
        ("a.example/x", "{newest: 3}", "b.example/x:/^v/", "", True),
        ("a.example/x", "{newest: 3}", "b.example/x", "[v*]", True),
        ("a.example/x:v1", "", "b.example/x", "[v*]", True),
        ("a.example/x:w1", "", "b.example/x", "[v*]", False),
    ],
)
def test_a_policy_is_followed_by_who_may_read_what_it_chooses(
    written: str, tags: str, read: str, read_tags: str, *, follows: bool
) -> None:
    one, two = (written, "b.example/x", tags), (read, "c.example/x", read_tags)
    expected = {read: [written]} if follows else {}
    assert with_tags(one, two) == with_tags(two, one) == expected


def test_what_a_policy_may_choose_makes_no_circle() -> None:
    """It depends on the tags that are there: only what is certain is an error of the file."""
    one, two = ("a.example/x", "b.example/x", "{newest: 3}"), ("b.example/x:1.2", "a.example/x", "")
    assert with_tags(one, two) == {two[0]: [one[0]]}
    assert with_tags(two, one) == {one[0]: [two[0]]}
    with pytest.raises(ConfigurationError, match="in such a circle no rule can be the first"):
        with_tags(("a.example/x", "b.example/x", "[1.*]"), two)
