"""The name of a repository at its destination."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageferry.errors import InvalidReference
from imageferry.name_template import (
    NameTemplate,
    PathMap,
    Replacement,
    TemplateError,
    check_levels,
    has_template,
)
from imageferry.reference import Reference, check_repository

ETCD = Reference("quay.io", "coreos/sub/etcd")
PATHS = st.lists(st.from_regex(r"[a-z0-9]{1,3}(-[a-z0-9])?", fullmatch=True), min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("registry.example/mirror/{path}", "registry.example/mirror/coreos/sub/etcd"),
        ("registry.example/{name}", "registry.example/etcd"),
        ("registry.example/{namespace}/x", "registry.example/coreos/sub/x"),
        ("registry.example/{registry}/{path}", "registry.example/quay.io/coreos/sub/etcd"),
        ("registry.example/{1}/{2}", "registry.example/sub/etcd"),
        ("registry.example/{flat}", "registry.example/coreos-sub-etcd"),
        ("registry.example:5000/{path}:{tag}-amd64", "registry.example:5000/coreos/sub/etcd"),
        ("team/{name}", "docker.io/team/etcd"),
    ],
)
def test_what_the_variables_stand_for(template: str, name: str) -> None:
    assert NameTemplate.parse(template, 2).render(ETCD, ("sub", "etcd")) == name


@pytest.mark.parametrize(
    ("registry", "name"), [("localhost:5000", "localhost-5000"), ("[::1]:5000", "1-5000"), ("[fe80::1]", "fe80--1")]
)
def test_a_registry_with_a_port_is_a_legal_name(registry: str, name: str) -> None:
    rendered = NameTemplate.parse("h.example/{registry}/{path}").render(Reference(registry, "x"))
    assert rendered == f"h.example/{name}/x"


def test_a_path_without_namespace_leaves_no_empty_part() -> None:
    rendered = NameTemplate.parse("h.example/m/{namespace}/{name}").render(Reference("quay.io", "etcd"))
    assert rendered == "h.example/m/etcd"


@pytest.mark.parametrize(
    ("template", "tag"),
    [("h.example/{path}", "v1"), ("h.example/x:{tag}-amd64", "v1-amd64"), ("h.example:5000/x:stable", "stable")],
)
def test_the_tag(template: str, tag: str) -> None:
    assert NameTemplate.parse(template).render_tag("v1") == tag


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (
            "h.example/{repo}",
            "unknown variable {repo}; known are {path}, {name}, {namespace}, {registry}, {flat}, {tag}, {1}, {2} …",
        ),
        ("h.example/{1}", "{1} stands for a * of the source, which has no *"),
        ("h.example/{0}", "{0} stands for a * of the source, which has no *"),
        ("h.example/{tag}", "{tag} stands after the colon: expected such as registry.example/x:{tag}-amd64"),
        ("h.example/{path", "a brace is not closed in 'h.example/{path'"),
    ],
)
def test_what_is_no_template(template: str, problem: str) -> None:
    with pytest.raises(TemplateError) as caught:
        NameTemplate.parse(template)
    assert str(caught.value) == problem


def test_whether_there_is_a_template() -> None:
    assert has_template("h.example/{path}")
    assert not has_template("h.example/${NAME}")


def test_names_that_are_not_legal_are_refused_with_both() -> None:
    with pytest.raises(TemplateError, match=r"^h\.example/Team would become x\.example/Team, which is no repository: "):
        NameTemplate.parse("x.example/{path}").render(Reference("h.example", "Team"))


def test_the_first_entry_that_matches_counts() -> None:
    path_map = PathMap(
        (Replacement("^legacy/(.*)$", r"archive/\1"), Replacement("^library/", ""), Replacement("x", "y"))
    )
    renamed = {path: path_map.apply(path) for path in ["legacy/x/y", "library/nginx", "axx", "other"]}
    assert renamed == {"legacy/x/y": "archive/x/y", "library/nginx": "nginx", "axx": "ayx", "other": "other"}


def test_what_no_entry_matches_may_fail() -> None:
    with pytest.raises(TemplateError, match=r"no entry of map matches other \(unmatched: fail\)"):
        PathMap((Replacement("^legacy/", ""),), keeps_unmatched=False).apply("other")


def test_a_group_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(TemplateError, match=r"names group 2, and 'a\(b\)' has 1"):
        Replacement("a(b)", r"\2")


@pytest.mark.parametrize(("name", "levels"), [("docker.io/team/sub/app", None), ("h.example/a/b/c", 2)])
def test_too_many_levels_are_refused(name: str, levels: int | None) -> None:
    with pytest.raises(TemplateError, match=r"has 3 levels and \S+ takes 2: use {name}, {flat} or map"):
        check_levels(Reference.parse(name), levels)


@pytest.mark.parametrize(("name", "levels"), [("docker.io/team/app", None), ("h.example/a/b/c", None)])
def test_levels_that_are_taken(name: str, levels: int | None) -> None:
    check_levels(Reference.parse(name), levels)


@given(
    PATHS, PATHS, st.sampled_from(["h.example/{path}", "h.example/{registry}/{path}", "h.example/m/{namespace}/{name}"])
)
def test_different_paths_have_different_names(one: str, other: str, template: str) -> None:
    render = NameTemplate.parse(template).render
    names = {render(Reference("quay.io", one)), render(Reference("quay.io", other))}
    assert (len(names) == 1) == (one == other)


@given(
    st.text(alphabet="aA0./_-{}", max_size=20), st.sampled_from(["{path}", "{flat}", "{namespace}/{name}", "{name}"])
)
def test_what_is_rendered_is_legal_or_refused(path: str, template: str) -> None:
    try:
        name = NameTemplate.parse(f"h.example/m/{template}").render(Reference("quay.io", path))
    except (TemplateError, InvalidReference):
        return
    check_repository(name.removeprefix("h.example/"))
