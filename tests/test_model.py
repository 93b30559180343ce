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
