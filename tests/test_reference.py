"""The grammar of references."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageferry.errors import InvalidReference
from imageferry.reference import Reference, check_registry, split_repository

A = "sha256:" + "a" * 64
LONG = "sha512:" + "0" * 128


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("nginx", ("docker.io", "library/nginx", None, None)),
        ("nginx:1.27", ("docker.io", "library/nginx", "1.27", None)),
        ("team/app", ("docker.io", "team/app", None, None)),
        ("docker.io/nginx", ("docker.io", "library/nginx", None, None)),
        ("index.docker.io/nginx", ("docker.io", "library/nginx", None, None)),
        ("registry-1.docker.io/team/app", ("docker.io", "team/app", None, None)),
        ("registry.hub.docker.com/library/nginx", ("docker.io", "library/nginx", None, None)),
        ("quay.io/etcd", ("quay.io", "etcd", None, None)),
        ("QUAY.io/etcd", ("quay.io", "etcd", None, None)),
        ("localhost/app", ("localhost", "app", None, None)),
        ("localhost:5000/app:v1", ("localhost:5000", "app", "v1", None)),
        ("host:80/a/b/c", ("host:80", "a/b/c", None, None)),
        ("[::1]:5000/app", ("[::1]:5000", "app", None, None)),
        (f"quay.io/a/b@{A}", ("quay.io", "a/b", None, A)),
        (f"quay.io/a/b:v1@{LONG}", ("quay.io", "a/b", "v1", LONG)),
        ("a__b/c---d.e_f", ("docker.io", "a__b/c---d.e_f", None, None)),
    ],
)
def test_what_a_text_means(text: str, parts: tuple[str | None, ...]) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == parts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the repository is missing"),
        ("quay.io/", "the repository is missing"),
        ("quay.io//a", "'/a' is not a repository"),
        ("quay.io/a/", "is not a repository"),
        ("quay.io/A", "upper case is not allowed"),
        ("quay.io/a..b", "is not a repository"),
        ("quay.io/../a", "is not a repository"),
        ("quay.io/a\n", "is not a repository"),
        ("quay.io/" + "a" * 256, "255 characters at most"),
        ("a:", "'' is not a tag"),
        ("a:-x", "'-x' is not a tag"),
        ("a:" + "x" * 129, "128 of them at most"),
        ("a:v1\n", "is not a tag"),
        ("a@", "'' is not a digest"),
        ("a@sha256:" + "A" * 64, "64 of 0-9 a-f"),
        ("a@sha256:abc", "64 of 0-9 a-f"),
        ("a@sha1:" + "a" * 40, "expected sha256: or sha512:"),
        (f"a@{A}:v1", "is not a digest"),
        ("https://quay.io/a", "is not a registry"),
        ("user@quay.io/a", "is not a digest"),
        ("-x.io/a", "'-x.io' is not a registry"),
        ("x.io:99999/a", "is not a registry"),
        ("x.io:0/a", "is not a registry"),
        ("x.io:/a", "is not a registry"),
    ],
)
def test_what_is_no_reference(text: str, words: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_what_a_manifest_is_asked_for_by() -> None:
    base = Reference.parse("quay.io/a/b:v1")
    assert base.target == "v1"
    assert base.at(A).target == A
    assert base.at(A).tag is None
    assert base.at("v2") == Reference("quay.io", "a/b", "v2")
    assert Reference("quay.io", "a/b", "v1", A).target == A
    with pytest.raises(InvalidReference, match=r"quay\.io/a/b names no tag and no digest"):
        _ = Reference.parse("quay.io/a/b").target


def test_registries_have_one_spelling() -> None:
    assert check_registry("Registry-1.Docker.IO") == "docker.io"
    assert check_registry("X.example:5000") == "x.example:5000"
    assert split_repository("docker.io/a") == ("docker.io", "library/a")


PART = st.from_regex(r"[a-z0-9]{1,8}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
REPOSITORIES = st.lists(PART, min_size=1, max_size=4).map("/".join)
REGISTRIES = st.one_of(
    st.from_regex(r"[a-z0-9]{1,8}(?:\.[a-z0-9-]{0,8}[a-z0-9]){1,3}(?::[1-9][0-9]{0,3})?", fullmatch=True),
    st.sampled_from(["docker.io", "localhost", "localhost:5000", "host:1", "[::1]:5000", "registry-1.docker.io"]),
)
TAGS = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
DIGESTS = st.none() | st.binary(min_size=32, max_size=32).map(lambda digest: f"sha256:{digest.hex()}")


@settings(deadline=None)
@given(REGISTRIES, REPOSITORIES, TAGS, DIGESTS)
def test_a_reference_and_its_text_are_the_same(
    registry: str,
    repository: str,
    tag: str | None,
    digest: str | None,
) -> None:
    text = f"{registry}/{repository}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    found = Reference.parse(text)
    assert Reference.parse(str(found)) == found
    assert (found.tag, found.digest) == (tag, digest)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_reference_or_is_told_why_not(text: str) -> None:
    try:
        found = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(found)) == found


WHERE = st.integers(0, 40)
STRANGE = st.sampled_from(
    [" ", "\n", "\0", "\x1b", "\u202e", "\ud800", "?", "#", "%2e", "\\", "ü", "A/", "//", "../", "@"]
)


@settings(deadline=None)
@given(REPOSITORIES, STRANGE, WHERE)
def test_what_does_not_belong_is_refused_wherever_it_stands(repository: str, strange: str, where: int) -> None:
    name = f"{repository[:where]}{strange}{repository[where:]}"
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(f"quay.io/{name}")
    # It is said, and writes neither to a terminal nor without end.
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("host", ["[:::]", "[1]", "a..b", "a" * 64 + ".example", ".".join(["a" * 60] * 5), "x.io."])
def test_what_no_resolver_takes_is_no_registry(host: str) -> None:
    with pytest.raises(InvalidReference, match="is not a registry"):
        check_registry(host)


def test_a_refusal_of_megabytes_is_short() -> None:
    for text in ("a:" + "x" * 5_000_000, "quay.io/" + "A" * 5_000_000, "a@sha256:" + "x" * 5_000_000):
        with pytest.raises(InvalidReference) as caught:
            Reference.parse(text)
        assert len(str(caught.value)) < 500
