"""What a rule does with a tag that is there, as far as its name tells."""

import pytest

from imageferry.existing_tags import Existing, ExistingTags
from imageferry.patterns import Patterns

VERSIONS = Patterns.parse(["v*.*.*"])


@pytest.mark.parametrize(
    ("policy", "tag", "keeps", "refuses"),
    [
        (ExistingTags(), "v1.2.3", False, False),
        (ExistingTags(Existing.KEEP), "latest", True, False),
        (ExistingTags(Existing.FAIL), "latest", False, True),
        (ExistingTags(Existing.UPDATE, VERSIONS), "v1.2.3", True, False),
        (ExistingTags(Existing.UPDATE, VERSIONS), "latest", False, False),
        # What never changes is not asked for, so it cannot be found to differ.
        (ExistingTags(Existing.FAIL, VERSIONS), "v1.2.3", True, False),
        (ExistingTags(Existing.FAIL, VERSIONS), "latest", False, True),
        # A digest has no other content.
        (ExistingTags(Existing.KEEP, VERSIONS), None, False, False),
        (ExistingTags(Existing.FAIL), None, False, False),
    ],
)
def test_what_becomes_of_a_tag(policy: ExistingTags, tag: str | None, keeps: bool, refuses: bool) -> None:
    assert (policy.keeps(tag), policy.refuses_other_content(tag)) == (keeps, refuses)
    assert policy.guards(tag) == (keeps or refuses)
    assert policy.keeps_some or not keeps


def test_it_is_written_as_it_was_read() -> None:
    assert ExistingTags().as_written() == {}
    assert ExistingTags(Existing.FAIL, VERSIONS).as_written() == {"existing": "fail", "immutable": ("v*.*.*",)}
