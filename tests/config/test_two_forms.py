"""A good configuration means the same in JSON and in YAML, and a spoilt one is told in either with file and line."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from imageferry.config import ConfigurationError, load_text

PARTS = st.from_regex(r"[a-z0-9]{1,6}(?:[._-][a-z0-9]{1,4})?", fullmatch=True)
HOSTS = st.sampled_from(["quay.io", "ghcr.io", "registry.example:5000", "localhost:5000", "[::1]:5000", "10.0.0.7"])
REPOSITORIES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,12}", fullmatch=True)
#: Texts that YAML takes for something else unless they are quoted (PyYAML does not quote 1e3, a number in YAML 1.2).
SECRETS = st.sampled_from(["yes", "0755", "~", "a: b", "#x", "p$x", "ü", "*a", "%", "- x", "null", "2024-01-01"])
PLATFORMS = st.lists(st.sampled_from(["linux/amd64", "linux/arm64/v8", "windows:10.0/amd64", "*/arm"]), min_size=1)

ENTRIES = st.fixed_dictionaries(
    {"username": SECRETS, "password": SECRETS}, optional={"insecure": st.booleans()}
) | st.fixed_dictionaries({"identity_token": SECRETS})


# PyYAML quotes neither 08 nor 1e3.
NAMESPACES = PARTS.filter(lambda part: part[0] not in "0123456789")


@st.composite
def rules(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rules of the list form, each to places that no other rule writes to."""
    made = []
    for number in range(draw(st.integers(1, 4))):
        tags = draw(st.lists(TAGS, max_size=3, unique=True))
        source = f"{draw(HOSTS)}/{draw(REPOSITORIES)}" + (f":{','.join(tags)}" if tags else "")
        places = [f"to{number}.example/{name}" for name in draw(st.lists(REPOSITORIES, min_size=1, max_size=3))]
        more = {"platforms": draw(PLATFORMS)} if draw(st.booleans()) else {}
        made.append({"from": source, "to": places if draw(st.booleans()) else places[0], **more})
    return made


DOCUMENTS = st.fixed_dictionaries(
    {"images": rules()},
    optional={
        "auth": st.dictionaries(HOSTS, ENTRIES, max_size=3),
        "defaults": st.fixed_dictionaries({"registry": HOSTS, "namespace": NAMESPACES}),
    },
)


def as_yaml(document: Any, flow: bool = False) -> str:
    return str(yaml.safe_dump(document, allow_unicode=True, default_flow_style=flow, sort_keys=False))


@settings(deadline=None)
@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1]))
def test_json_and_yaml_mean_the_same(document: dict[str, Any], flow: bool, indent: int | None) -> None:
    written = json.dumps(document, indent=indent)
    found = load_text(written, "c.json", environment={})
    assert load_text(as_yaml(document, flow), "c.yaml", environment={}) == found
    # JSON is YAML, and what YAML was read from is JSON again.
    assert load_text(written, "c.yaml", environment={}) == found
    assert load_text(json.dumps(yaml.safe_load(as_yaml(document))), "c.json", environment={}) == found
    assert len(found.rules) == len(document["images"])


SPOILT: st.SearchStrategy[Any] = st.sampled_from([7, 1.5, True, None, {"a": "b"}, [[]], "https://x/y", "UP/x", ""])


@settings(deadline=None)
@given(DOCUMENTS, st.sampled_from(["from", "to", "platforms", "more"]), SPOILT, st.integers(0, 3))
def test_an_invalid_rule_is_reported_with_its_file_and_line(
    document: dict[str, Any], key: str, value: Any, number: int
) -> None:
    images = document["images"]
    spoilt = number % len(images)
    images[spoilt][key] = value
    document.pop("defaults", None)
    # A line for each rule.
    lines = ["{", *([f'"auth": {json.dumps(document["auth"])},'] if "auth" in document else []), '"images": [']
    first = len(lines) + 1
    text = "\n".join([*lines, ",\n".join(json.dumps(each) for each in images), "]}"])
    for name in ("c.json", "c.yaml"):
        with pytest.raises(ConfigurationError) as told:
            load_text(text, name, environment={})
        assert {(diagnostic.file, diagnostic.line) for diagnostic in told.value.diagnostics} == {(name, first + spoilt)}
        assert str(told.value).startswith(f"{name}:{first + spoilt}:")
