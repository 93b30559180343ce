"""The keys under which a repository is looked up."""

import pytest

from imageferry.errors import InvalidReference
from imageferry.registry_key import has_host_form, lookup_keys, normalize_key


def test_a_repository_is_looked_up_by_the_longest_key_first() -> None:
    assert list(lookup_keys("x.example:5000/a/b")) == ["x.example:5000/a/b", "x.example:5000/a", "x.example:5000"]
    assert list(lookup_keys("x.example")) == ["x.example"]


@pytest.mark.parametrize("text", ["", "/team", "https://", "user@x.example", "harbor", "x.example/UP", "x.example:0"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        normalize_key(text)


@pytest.mark.parametrize(("name", "host"), [("x.example", True), ("h:5000", True), ("localhost", True), ("h", False)])
def test_what_reads_as_a_registry(name: str, host: bool) -> None:
    assert has_host_form(name) is host
