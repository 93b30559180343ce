"""The keys `existing` and `immutable` of a rule."""

import json
from typing import Any

import pytest

from imageferry.config import ConfigurationError, load_text
from imageferry.config.document import Document
from imageferry.config.existing import read_existing
from imageferry.existing_tags import Existing, ExistingTags
from imageferry.patterns import Patterns


def read(**keys: Any) -> ExistingTags:
    """Read a rule with these keys."""
    text = json.dumps({"images": [{"from": "a.example/x", "to": "b.example/x", **keys}]})
    (rule,) = load_text(text, "c.json", environment={}).rules
    return rule.existing


def test_a_tag_that_is_there_follows_the_source_unless_the_rule_says_otherwise() -> None:
    assert read() == read(existing="update") == ExistingTags(Existing.UPDATE)
    assert read(existing="keep") == ExistingTags(Existing.KEEP)
    assert read(existing="fail", immutable=["v*", "/^[0-9]+$/"]) == ExistingTags(
        Existing.FAIL, Patterns.parse(["v*", "/^[0-9]+$/"])
    )


def test_the_other_form_has_the_defaults() -> None:
    (rule,) = load_text("images: {a.example/x: b.example/x}", "c.yaml", environment={}).rules
    assert rule.existing == ExistingTags()


def test_a_key_that_is_not_there_is_that_of_the_default() -> None:
    document = Document("c", {"both": {"existing": "update", "immutable": ["w*"]}, "one": {"immutable": ["w*"]}})
    default = ExistingTags(Existing.KEEP, Patterns.parse(["v*"]))
    assert read_existing(document, ("both",), default) == ExistingTags(immutable=Patterns.parse(["w*"]))
    assert read_existing(document, ("one",), default) == ExistingTags(Existing.KEEP, Patterns.parse(["w*"]))
    assert read_existing(document, (), default) == default


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"existing": "skip"}, "existing: 'skip': expected update, keep or fail"),
        ({"existing": "Keep"}, "existing: 'Keep': expected update, keep or fail"),
        ({"existing": True}, "existing: is true or false: expected update, keep or fail"),
        ({"existing": None}, "existing: is nothing: expected update, keep or fail"),
        ({"existing": ["keep"]}, "existing: is a list: expected update, keep or fail"),
        ({"immutable": "v1"}, "immutable: is text: expected a list"),
        ({"immutable": []}, 'immutable: is empty: expected a list such as ["v*.*.*"], or leave the key out'),
        ({"immutable": None}, 'immutable: is nothing: expected a list such as ["v*.*.*"], or leave the key out'),
        ({"immutable": [1.5]}, 'immutable[0]: is a number, not text: quote it: "1.5"'),
        ({"immutable": ["v*", ""]}, "immutable[1]: is empty, as no tag is: expected a pattern such as v*.*.*"),
        ({"immutable": ["/(/"]}, "immutable[0]: '(' is not a regular expression (RE2): missing ): ("),
        ({"immutable": ["[z-a]*"]}, "immutable[0]: '[z-a]*' is not a pattern: invalid character class"),
        ({"immutable": ["v[0-9"]}, "immutable[0]: 'v[0-9' matches no tag: its '[' has no partner"),
        ({"immutable": ["v{1,2"]}, "immutable[0]: 'v{1,2' matches no tag: its '{' has no partner"),
        ({"immutable": ["x:v*"]}, "immutable[0]: 'x:v*' matches no tag: none has ':'"),
        ({"immutable": ["^v\\d+"]}, "immutable[0]: '^v\\\\d+' matches no tag: none has '^'"),
        ({"imutable": ["v*"]}, "did you mean 'immutable'?"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(**keys)
    assert problem in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_all_errors_are_reported_at_once_with_their_lines() -> None:
    text = """
images:
  - from: a.example/x
    to: b.example/x
    existing: never
    immutable:
      - "v*"
      - "v v"
"""
    with pytest.raises(ConfigurationError) as refused:
        load_text(text, "c.yaml", environment={})
    first, second = str(refused.value).splitlines()
    assert first.startswith("c.yaml:5:")
    assert second.startswith("c.yaml:8:")
