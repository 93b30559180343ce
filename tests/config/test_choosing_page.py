"""The examples of the page about choosing tags are configurations, and say what they choose."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imageferry.config import load_text
from imageferry.version_range import VersionRange
from imageferry.versions import parse_version

PAGE = (Path(__file__).parent.parent.parent / "docs" / "choosing.md").read_text()
README = (Path(__file__).parent.parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

TAGS = [
    "1.24.0",
    "1.25.0",
    "1.25.1",
    "1.26.0",
    "1.26.1-alpine3.20",
    "1.27.0",
    "1.27.1",
    "1.28.0-rc1",
    "7.2.3",
    "7.2.4",
    "7.4.0",
    "16.1",
    "16.2",
    "16.3",
    "16.4",
    "17.0",
    "17.0-alpine3.20",
    "17.1-windows",
    "18.0",
    "v3.5.1",
    "v3.6.0",
    "v3.7.0",
    "latest",
    "bookworm",
    "bullseye",
    "windows",
    "20240115",
]

# What the examples choose of these, by the last part of the source.
CHOSEN = {
    "nginx": "16.2 16.3 16.4 17.0 18.0",
    "postgres": "16.3 16.4 17.0 17.0-alpine3.20 latest",
    "etcd": "v3.5.1 v3.6.0 latest",
    "redis": "7.2.4",
}


def test_every_example_is_a_configuration() -> None:
    assert len(EXAMPLES) == 2
    for text in (*EXAMPLES, *re.findall(r"```yaml\n(images:.*?)```", README, re.DOTALL)):
        configuration = load_text(text, "page.yaml", environment={})
        assert any(rule.source.policy for rule in configuration.rules)


@pytest.mark.parametrize("name", CHOSEN)
def test_the_examples_choose_what_their_comments_say(name: str) -> None:
    rules = load_text(EXAMPLES[0], "page.yaml", environment={}).rules
    (rule,) = [rule for rule in rules if rule.name.rpartition("/")[2] == name]
    assert rule.source.policy is not None
    assert rule.source.policy.begin(TAGS).finish({}, datetime.now(UTC)) == CHOSEN[name].split()


def test_the_table_of_versions() -> None:
    rows = re.findall(r"^\| (`.*?`(?:, `.*?`)*) \| ([\d., ]+|none|17) \| (.*?) ?\| (.*?) ?\|$", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for tags, numbers, _, variants in rows:
        for number, tag in enumerate(re.findall(r"`(.*?)`", tags)):
            version = parse_version(tag)
            if numbers == "none":
                assert version is None, tag
                continue
            assert version is not None, tag
            written = numbers.split(", ")
            assert ".".join(map(str, version.numbers)) == (written[number] if len(written) > number else written[0])
            variant = variants.split(", ")[number] if variants else ""
            assert version.variant == variant.strip("`").replace("none", "")


def test_the_table_of_ranges() -> None:
    section = PAGE.partition("## Ranges")[2].partition("## ")[0]
    ranges = [text.replace(r"\|", "|") for text in re.findall(r"^\| (.*?[^\\]) \| ", section, re.MULTILINE)]
    found = [text for cell in ranges for text in re.findall(r"`(.*?)`", cell)]
    assert len(found) == 8
    for text in found:
        VersionRange.parse(text)
