"""Sources that name many repositories."""

import pytest

from imageferry.errors import InvalidReference
from imageferry.patterns import Patterns
from imageferry.repository_pattern import RepositoryPattern, RepositoryPatternError, RepositoryPolicy, has_wildcards


@pytest.mark.parametrize(
    ("text", "path", "captures"),
    [
        ("quay.io/coreos/*", "coreos/etcd", ("etcd",)),
        ("quay.io/coreos/*", "coreos/sub/etcd", None),
        ("quay.io/coreos/**", "coreos/sub/etcd", ("sub/etcd",)),
        ("quay.io/*/app-*", "team/app-x", ("team", "x")),
        ("quay.io/**/app", "a/b/app", ("a/b",)),
        ("quay.io/{a,b}/*", "b/x", ("x",)),
        ("quay.io/{a,b}/*", "c/x", None),
        ("quay.io/**", "x", ("x",)),
    ],
)
def test_what_a_pattern_matches(text: str, path: str, captures: tuple[str, ...] | None) -> None:
    assert RepositoryPattern.parse(text).match(path) == captures


@pytest.mark.parametrize(
    ("text", "registry", "prefix"),
    [
        ("quay.io/coreos/sub-*/x", "quay.io", "coreos"),
        ("localhost:5000/**", "localhost:5000", ""),
        ("index.docker.io/team/*", "docker.io", "team"),
        ("team/*", "docker.io", "team"),
    ],
)
def test_where_it_looks(text: str, registry: str, prefix: str) -> None:
    pattern = RepositoryPattern.parse(text)
    assert (pattern.registry, pattern.prefix) == (registry, prefix)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("docker.io/**", "Docker Hub cannot be listed as a whole: name a namespace, as docker.io/team/*"),
        ("*.example/x", "a registry is named in full, only its repositories by a pattern"),
        ("quay.io/[z-a]", "'[z-a]' is not a pattern"),
    ],
)
def test_what_is_no_pattern(text: str, problem: str) -> None:
    with pytest.raises((RepositoryPatternError, InvalidReference, ValueError)) as caught:
        RepositoryPattern.parse(text)
    assert problem in str(caught.value)


def test_sources_with_wildcards() -> None:
    sources = ["quay.io/a/*", "quay.io/a/b", "quay.io/a/{b,c}", "quay.io/a/b?"]
    assert [has_wildcards(source) for source in sources] == [True, False, True, True]


def test_what_a_policy_takes() -> None:
    policy = RepositoryPolicy(include=Patterns.parse(["**/*-service"]), exclude=Patterns.parse(["old/**"]))
    paths = ["a/x-service", "old/x-service", "a/x"]
    assert [path for path in paths if policy.takes(path)] == ["a/x-service"]
