"""A configuration narrowed to one of its rules, and to some of that rule's images."""

import pytest

from imageferry.config import load_text
from imageferry.model import RuleNotFound
from tests.copy.running import configured


def test_images_that_are_listed_keep_their_names_at_the_destination() -> None:
    name = "a.example/x/app:v1,v2,v3"
    configuration = load_text(
        configured({name: "b.example/y/app:one,two,three", "a.example/x/other": "b.example/z"}), "c", environment={}
    )
    (rule,) = configuration.only(name, ["v3", "v1"]).rules
    assert [item.tag for item in rule.source.items] == ["v3", "v1"]
    assert rule.destinations[0].targets == ("three", "one")
    assert configuration.only(name).rules == (configuration.rules[0],)


@pytest.mark.parametrize(
    ("rule", "images", "message"),
    [
        ("a.example/x/none", None, "no rule a.example/x/none"),
        ("a.example/x/app:v1", ["v2"], "does not copy v2"),
        ("a.example/x/some:/^v/", ["w1"], "w1 is none that the rule selects"),
    ],
)
def test_a_rule_or_image_that_is_not_configured_is_an_error(rule: str, images: list[str] | None, message: str) -> None:
    text = configured({"a.example/x/app:v1": "b.example/app", "a.example/x/some:/^v/": "b.example/some"})
    configuration = load_text(text, "c", environment={})
    with pytest.raises(RuleNotFound, match=message):
        configuration.only(rule, images)


NAMES = {f"quay.io/coreos/{name}": f"b.example/{name[:4]}" for name in ("etcd:v3.5", "flannel", "proxy:/^V1/", "clair")}


@pytest.mark.parametrize(
    ("texts", "found"),
    [([], "etcd:v3.5 flannel proxy:/^V1/ clair"), (["clair", "etcd"], "etcd:v3.5 clair"), (["/^V1/"], "proxy:/^V1/")],
)
def test_rules_are_chosen_by_a_text_of_their_sources(texts: list[str], found: str) -> None:
    configuration = load_text(configured(NAMES), "c", environment={})
    assert [rule.name.rpartition("coreos/")[2] for rule in configuration.with_text(texts)] == found.split()


@pytest.mark.parametrize(("text", "nearest"), [("etdc", "etcd:v3.5"), ("PROXY", "proxy:/^V1/"), ("coreos/flanel", "f")])
def test_a_text_that_is_in_no_source_is_an_error_with_the_nearest(text: str, nearest: str) -> None:
    configuration = load_text(configured(NAMES), "c", environment={})
    with pytest.raises(RuleNotFound) as refused:
        configuration.with_text(["clair", text])
    assert str(refused.value).startswith(f"no rule's source contains {text!r}; nearest: quay.io/coreos/{nearest}")
    assert str(refused.value).count("quay.io") == 3


def test_no_text_is_in_a_configuration_without_rules() -> None:
    with pytest.raises(RuleNotFound, match="no rule's source contains 'x': there are no rules"):
        load_text("{images: {}}", "c.yaml", environment={}).with_text(["x"])
