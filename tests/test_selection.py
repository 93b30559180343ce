"""Which tags and which platforms are taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageferry.selection import Platform, PlatformFilter, SelectionError, TagPattern, split_architecture

AMD = {"os": "linux", "architecture": "amd64"}
ARM7 = {"os": "linux", "architecture": "arm", "variant": "v7"}
ARM6 = {"os": "linux", "architecture": "arm", "variant": "v6"}
WINDOWS = {"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1"}


class TestPatterns:
    def test_an_expression_matches_anywhere(self) -> None:
        tags = ["v0.2.1", "xv0.2", "v1", "V0.2"]
        assert TagPattern(r"v0\.2").select(tags) == ["v0.2.1", "xv0.2"]
        assert TagPattern(r"^v0\.2$").select(tags) == []
        assert TagPattern(r"(?i)^v0\.2$").select(tags) == ["V0.2"]
        assert TagPattern("a").select([]) == []

    @pytest.mark.parametrize("expression", ["(", "[", "*", "(?=a)", r"(a)\1", "a{2000}"])
    def test_what_is_no_expression(self, expression: str) -> None:
        with pytest.raises(SelectionError) as caught:
            TagPattern(expression)
        assert repr(expression) in str(caught.value)
        assert "RE2" in str(caught.value)

    def test_an_expression_takes_no_longer_than_its_tags(self) -> None:
        assert TagPattern("(a+)+$").select(["a" * 100 + "!"] * 1000) == []

    @settings(deadline=None)
    @given(st.lists(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)))
    def test_the_order_is_kept(self, tags: list[str]) -> None:
        assert TagPattern("").select(tags) == tags
        assert TagPattern("[0-9]").select(tags) == [tag for tag in tags if any(c.isdigit() for c in tag)]


class TestPlatforms:
    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("linux", ("linux", None, "*", None)),
            ("linux/", ("linux", None, "*", None)),
            ("linux/amd64", ("linux", None, "amd64", None)),
            ("linux/arm/v7", ("linux", None, "arm", "v7")),
            ("linux/arm:v7", ("linux", None, "arm", "v7")),
            ("*/arm64", ("*", None, "arm64", None)),
            ("linux/*/*", ("linux", None, "*", None)),
            ("windows:10.0.17763/amd64", ("windows", "10.0.17763", "amd64", None)),
            (" linux/amd64 ", ("linux", None, "amd64", None)),
        ],
    )
    def test_what_a_text_means(self, text: str, parts: tuple[str | None, ...]) -> None:
        found = Platform.parse(text)
        assert (found.os, found.os_version, found.architecture, found.variant) == parts
        assert Platform.parse(str(found)) == found

    @pytest.mark.parametrize("text", ["", "/amd64", "linux/amd 64", "linux/arm/", "linux/arm/v7/x", "linux:/x", "a,b"])
    def test_what_is_no_platform(self, text: str) -> None:
        with pytest.raises(SelectionError, match="is not a platform: expected os/architecture"):
            Platform.parse(text)

    def test_architectures_have_two_forms(self) -> None:
        assert split_architecture("arm64:v8") == split_architecture("arm64/v8") == ("arm64", "v8")
        assert split_architecture("amd64") == ("amd64", None)

    @pytest.mark.parametrize(
        ("text", "taken"),
        [
            ("linux", [AMD, ARM7, ARM6]),
            ("*/amd64", [AMD, WINDOWS]),
            ("linux/arm", [ARM7, ARM6]),
            ("linux/arm/v7", [ARM7]),
            ("linux/*/v6", [ARM6]),
            ("windows:10.0.17763.1/amd64", [WINDOWS]),
            ("windows:10.0.1/amd64", []),
        ],
    )
    def test_what_is_taken(self, text: str, taken: list[Any]) -> None:
        wanted = Platform.parse(text)
        assert [each for each in (AMD, ARM7, ARM6, WINDOWS) if wanted.matches(each)] == taken


class TestFilters:
    def test_none_takes_all(self) -> None:
        for each in (PlatformFilter(), PlatformFilter.of([], []), PlatformFilter.parse([])):
            assert not each
            assert each.takes(AMD)
            assert each.takes(None)

    def test_an_entry_without_platform_passes(self) -> None:
        assert PlatformFilter.parse(["windows"]).takes(None)
        assert not PlatformFilter.parse(["windows"]).takes({})

    def test_every_system_with_every_architecture(self) -> None:
        found = PlatformFilter.of(["linux", "windows:10.0"], ["amd64", "arm:v7"])
        assert [str(each) for each in found.platforms] == [
            "linux/amd64",
            "linux/arm/v7",
            "windows:10.0/amd64",
            "windows:10.0/arm/v7",
        ]
        assert [str(each) for each in PlatformFilter.of([], ["arm64/v8"]).platforms] == ["*/arm64/v8"]
        assert [str(each) for each in PlatformFilter.of(["linux"], []).platforms] == ["linux/*"]

    def test_one_of_several_is_enough(self) -> None:
        found = PlatformFilter.parse(["linux/amd64", "linux/arm/v7"])
        assert [found.takes(each) for each in (AMD, ARM7, ARM6, WINDOWS)] == [True, True, False, False]

    @settings(deadline=None)
    @given(
        st.lists(st.sampled_from(["linux", "windows:10.0", "*"])),
        st.lists(st.sampled_from(["amd64", "arm:v7", "*"])),
    )
    def test_a_filter_and_its_texts_are_the_same(self, systems: list[str], architectures: list[str]) -> None:
        found = PlatformFilter.of(systems, architectures)
        assert PlatformFilter.parse(map(str, found.platforms)) == found
