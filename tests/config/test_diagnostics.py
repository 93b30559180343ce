"""Broken configurations, each with the lines and the words of its diagnostics."""

from __future__ import annotations

import pickle
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from imageferry.config import ConfigurationError, load_text

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64


class Broken(NamedTuple):
    """A text, and for each error in it the line and some words of its message."""

    text: str
    expected: list[tuple[int, str]]
    name: str = "c.yaml"


def image(line: str, *words: str) -> Broken:
    """A configuration whose only rule is on line 2."""
    return Broken(f"images:\n  {line}\n", [(2, each) for each in words])


def auth(line: str, *words: str) -> Broken:
    """A configuration whose only entry of ``auth`` is on line 2."""
    return Broken(f"auth:\n  {line}\nimages: {{b: x.example/b}}\n", [(2, each) for each in words])


SYNTAX = {
    "empty": Broken("", [(0, "is empty")]),
    "only a comment": Broken("# nothing\n", [(0, "is empty")]),
    "empty json": Broken(" \n", [(0, "is empty")], "c.json"),
    "a text": Broken("images", [(1, "is text: expected a mapping of auth, registries, defaults and images")]),
    "a list": Broken("- images", [(1, "is a list: expected a mapping")]),
    "no images": Broken("auth: {}\n", [(1, "'images' is missing")]),
    "not closed": Broken("images: {b: x.example/b\n", [(2, "is not YAML")]),
    "a tab": Broken("images:\n\tb: x.example/b\n", [(2, "indentation by tabs")]),
    "two documents": Broken("images: {b: x.example/b}\n---\nimages: {}\n", [(2, "a second document")]),
    "a python tag": Broken("images:\n  b: !!python/object:os.system x\n", [(2, "has a tag (!)")]),
    "a tag of one's own": Broken("images:\n  b: !env x\n", [(2, "has a tag (!)")]),
    "a tag without handle": Broken("images:\n  b: !x!y z\n", [(2, "a tag (!) is not known")]),
    "an anchor twice": Broken("images:\n  b: &a x\n  c: &a y\n", [(3, "an anchor (&) is given twice")]),
    "an unknown alias": Broken("images:\n  b: *nowhere\n", [(2, "an alias (*) to nothing")]),
    "an alias in its anchor": Broken("images: &a\n  b: *a\n", [(1, "stands inside what it names")]),
    "a merge of itself": Broken("images: &a\n  <<: *a\n", [(1, "stands inside what it names")]),
    "a merge of a text": Broken("images:\n  <<: b\n", [(2, "<< takes a mapping")]),
    "a key that is a list": Broken("images:\n  ? [a, b]\n  : x.example/b\n", [(2, "a key here is no text")]),
    "too deep": Broken("images: " + "[" * 60 + "]" * 60, [(1, "nested too deep")]),
    "far too deep": Broken("images: " + "[" * 5000 + "]" * 5000, [(1, "nesting depth")]),
    "a control character": Broken("images:\n  b: x\x07\n", [(2, "U+0007")]),
    "json: comma missing": Broken(
        '{"images": {\n"a": "b"\n"c": "d"}}', [(3, "Expecting ',' delimiter; is one missing")], "c.json"
    ),
    "json: comma too many": Broken('{"images": {"a": "b"},\n}', [(2, "a comma too many before '}'")], "c.json"),
    "json: a comment": Broken('{\n// rules\n"images": {}}', [(2, "JSON has no comments")], "c.json"),
    "json: single quotes": Broken("{'images': {}}", [(1, "JSON's quotes are double")], "c.json"),
    "json: cut off": Broken('{"images": {"a":', [(1, "is not JSON: Expecting value")], "c.json"),
    "json: yaml": Broken("images:\n  b: x.example/b\n", [(1, "it looks like YAML")], "c.json"),
    "json: half a pair": Broken('{"images": {\n"b": "\\ud83d"}}', [(2, "without its other half")], "c.json"),
    "json: too deep": Broken('{"images": ' + "[" * 60 + "]" * 60 + "}", [(1, "nested too deep")], "c.json"),
    "json: far too deep": Broken("[" * 200_000, [(1, "nested too deep")], "c.json"),
}

SHAPE = {
    "an unknown part": Broken("image: {}\n", [(1, "'images' is missing"), (1, "did you mean 'images'?")]),
    "no images in braces": Broken("{}\n", [(1, "'images' is missing")]),
    "a key like an extension": Broken("xcreds: {}\nimages: {b: x.example/b}\n", [(1, "unknown key 'xcreds'")]),
    "a part twice": Broken("images: {b: x.example/b}\nimages: {}\n", [(2, "given twice: it stands on line 1 too")]),
    "a part twice in json": Broken(
        '{"images": {"b": "x.example/b"},\n"images": {}}',
        [(2, "given twice: it stands on line 1 too")],
        "c.json",
    ),
    "a source twice": Broken("images:\n  b: x.example/b\n  b: y.example/b\n", [(3, "it stands on line 2 too")]),
    "images: nothing": Broken("images:\n", [(1, "is nothing: expected a mapping of sources")]),
    "images: a text": Broken("images: b\n", [(1, "is text: expected a mapping of sources")]),
    "an entry that is a text": Broken(
        "images:\n  - b\n", [(2, "expected a mapping of from, to, platforms, existing, immutable and tags")]
    ),
    "an entry with no destination": Broken("images:\n  - from: b\n", [(2, "'to' is missing")]),
    "an unknown option": Broken(
        "images:\n  - from: b\n    to: x.example/b\n    platform: [linux]\n",
        [(4, "unknown key 'platform'; did you mean 'platforms'?")],
    ),
    "a from that is a number": Broken("images:\n  - {from: 12,\n     to: x.example/b}\n", [(2, 'quote it: "12"')]),
    "a from that is a list": Broken("images:\n  - {from: [b], to: x.example/b}\n", [(2, "is a list: expected text")]),
    "platforms that are a text": Broken(
        "images:\n  - {from: b, to: x.example/b, platforms: linux}\n",
        [(2, "is text: expected a list")],
    ),
    "platforms that are none": Broken(
        "images:\n  - {from: b, to: x.example/b, platforms: []}\n  - {from: c, to: x.example/c, platforms: }\n",
        [(2, "leave the key out for all platforms"), (3, "is nothing: expected a list")],
    ),
    "a platform that is none": Broken(
        "images:\n  - from: b\n    to: x.example/b\n    platforms:\n    - linux/amd64\n    - linux amd64\n",
        [(6, "'linux amd64' is not a platform")],
    ),
    "defaults with more": Broken(
        "defaults: {registri: x}\nimages: {b: ''}\n",
        [(1, "did you mean 'registry'?")],
    ),
    "a default registry that is none": Broken(
        "defaults:\n  registry: https://x\n  namespace: UP\nimages: {b: ''}\n",
        [(2, "is not a registry"), (3, "upper case is not allowed")],
    ),
    "defaults that are a text": Broken("images: {b: ''}\ndefaults: x\n", [(2, "is text: expected a mapping")]),
}

RULES = {
    "rules in a circle": Broken(
        "images:\n  a.example/x: b.example/x\n  b.example/x:v1,v2: c.example/x\n  c.example/x:/^v/: a.example/x\n",
        [
            (
                2,
                "reads what line 4 (c.example/x:/^v/) writes, which reads what line 3 (b.example/x:v1,v2) writes, "
                "which reads what this rule writes",
            )
        ],
    ),
    "two circles": Broken(
        "images:\n  a.example/x: b.example/x\n  b.example/x: a.example/x\n  c.example/x: d.example/x\n"
        "  d.example/x: c.example/x\n",
        [(2, "line 3 (b.example/x)"), (4, "line 5 (d.example/x)")],
    ),
    "a rule that reads what it writes": image("b.example/x:v1,v2: b.example/x:v2,v3", "that it reads as well"),
    "an empty source": image('"": x.example/b', "the source is empty"),
    "a blank source": image('" ": x.example/b', "the source is empty"),
    "a scheme": image("https://quay.io/a/b: x.example/b", "an image has no https:// before it"),
    "upper case": image("quay.io/a/B: x.example/b", "upper case is not allowed"),
    "no repository": image("quay.io/: x.example/b", "the repository is missing"),
    "an empty tag": image('"b:": x.example/b', "an item is empty"),
    "an empty item": image("b:v1,,v2: x.example/b", "an item is empty"),
    "an item missing at the end": image("b:v1,: x.example/b", "an item is empty"),
    "a space between tags": image("b:v1, v2: x.example/b", "' v2' is not a tag"),
    "a tag that is none": image("b:v1:v2: x.example/b", "'v1:v2' is not a tag"),
    "a tag twice": image(f"b:v1,v2,v1@sha256:{'a' * 64}: x.example/b", "tag v1 is given twice"),
    "a digest that is short": image('"b@sha256:abc": x.example/b', "64 of 0-9 a-f"),
    "a digest that is unknown": image('"b@md5:abc": x.example/b', "expected sha256: or sha512:"),
    "two digests": image(f'"b@{A},{B}": x.example/b', "more than one digest"),
    "two pinned tags": image(f'"b:v1@{A},v2@{B}": x.example/b', "more than one digest"),
    "an open expression": image('"b:/a+": x.example/b', "does not end: expected :/regex/"),
    "an empty expression": image('"b://": x.example/b', "the regular expression is empty"),
    "two expressions": image('"b:/a/,/b/": x.example/b', "two regular expressions"),
    "an expression among tags": image('"b:v1,/b/": x.example/b', "a regular expression stands alone"),
    "no expression": image('"b:/a(/": x.example/b', "is not a regular expression (RE2): missing )"),
    "an expression that RE2 has not": image('"b:/(?=a)/": x.example/b', "is not a regular expression"),
    "a destination that is nothing": image("b:", 'is nothing: expected a destination, or "" for'),
    "a destination that is a number": image("b: 0755", 'is a number, not text: quote it: "0755"'),
    "a destination that is a yes": image("b: true", 'quote it: "true"'),
    "a destination that is a mapping": image("b: {to: x.example/b}", "options are for the form"),
    "no destinations": image("b: []", "is an empty list"),
    "a list with a hole": image("b: [x.example/b, ~]", "is nothing: expected a destination"),
    "a blank destination": image("b: ' '", "is not a repository"),
    "no default registry": image('b: ""', "none is known: give --registry, set DEFAULT_REGISTRY"),
    "a destination with a scheme": image("b: http://x.example/b", "an image has no http://"),
    "a destination with an expression": image('b: "x.example/b:/a/"', "a destination has no regular expression"),
    "a destination that is no reference": image("b: x.example/B", "upper case is not allowed"),
    "a variable without braces": image("b: $HOST/b", "variable HOST is not set"),
    "a dollar without a name": image("b: x.example/b$1", "write ${NAME}"),
    "a default": image("b: ${HOST:-x.example}/b", "expected ${NAME}, without a default"),
    "an expression of GitHub's": image("b: ${{ secrets.HOST }}/b", "only GitHub Actions replaces"),
    "a variable in a source": image("${HOST}/b: x.example/b", "a source has no environment variables"),
    "a variable as a source's tag": image("b:${TAG}: x.example/b", "a source has no environment variables"),
    "a default in a source": image("${HOST:-quay.io}/b: x.example/b", "a source has no environment variables"),
    "a variable not set": image("b: ${HOST}/${NAME}", "variables HOST, NAME are not set"),
    "a tag for all tags": image("b: x.example/b:v1", "all tags would end under one name"),
    "two tags for an expression": image('"b:/v/": x.example/b:v1,v2', "an expression's tags cannot be paired"),
    "a digest for an expression": image(f'"b:/v/": "x.example/b@{A}"', "matches is no digest"),
    "a backslash in double quotes": image(r'"b:/^v\d/": x.example/b', "use single quotes, in which \\d"),
    "a backspace in double quotes": image(r'"b:/\bv/": x.example/b', "has a control character: in double quotes \\b"),
    "a key that is too long": image(f"b:{'v,' * 600}w: x.example/b", "a key of more than 1,024 characters"),
    "a key that is too long in braces": Broken(
        f"images: {{'b:{'v,' * 600}w': x.example/b}}\n", [(1, "a key of more than 1,024 characters")]
    ),
    "a tag for two": image("b:v1,v2: x.example/b:v", "2 source tags would end under one name"),
    "two tags for three": image("b:v1,v2,v3: x.example/b:a,b", "2 tags for the source's 3"),
    "two tags for one": image("b:v1: x.example/b:a,b", "2 tags for the source's 1"),
    "one tag for both": image("b:v1,v2: x.example/b:a,a", "tag a is given twice"),
    "another digest": image(f'"b@{A}": "x.example/b@{B}"', "is not the source's, which has another"),
    "a digest for a tag": image(f'"b:v1": "x.example/b@{A}"', "is not the source's, which has none"),
    "onto itself": image("nginx: docker.io/library/nginx", "copies onto itself"),
    "a tag onto itself": image("b:v1,v2: b:v3,v2", "copies onto itself"),
    "a list onto itself": image("b:v1: [x.example/b, b]", "copies onto itself"),
    "two sources for a tag": Broken(
        "images:\n  b:v1: x.example/b\n  c:v1: [y.example/b, x.example/b]\n",
        [(3, "which line 2 writes from another source")],
    ),
    "two tags for a tag": Broken(
        "images:\n  b:v1,v2:\n    - x.example/b:one,two\n    - x.example/b:two,one\n",
        [(4, "which line 3 writes from another source")],
    ),
    "two platforms for a tag": Broken(
        "images:\n  - {from: b:v1, to: x.example/b, platforms: [linux/amd64]}\n"
        "  - {from: b:v1, to: x.example/b, platforms: [linux/arm64]}\n",
        [(3, "the same source with other platforms")],
    ),
}

TAGS = {
    "tags beside a tag": Broken(
        "images:\n  - from: b:v1\n    to: x.example/b\n    tags: [v*]\n", [(4, "the source names its tags already")]
    ),
    "tags beside an expression": Broken(
        'images:\n  - from: "b:/v/"\n    tags: {newest: 3}\n    to: x.example/b\n',
        [(3, "the source names its tags already")],
    ),
    "tags beside a digest": Broken(
        f"images:\n  - {{from: 'b@{A}', to: x.example/b,\n     tags: [v*]}}\n",
        [(3, "the source names its tags already")],
    ),
    "tags of one's own under one name": Broken(
        "images:\n  - {from: b, to: 'x.example/b:one,two', tags: {newest: 2}}\n",
        [(2, "tags that a policy chooses cannot be paired")],
    ),
    "chosen tags as a digest": Broken(
        f"images:\n  - {{from: b, to: 'x.example/b@{A}', tags: {{newest: 1}}}}\n",
        [(2, "what a policy chooses is no digest")],
    ),
    "tags that are nothing": Broken(
        "images:\n  - from: b\n    to: x.example/b\n    tags:\n", [(4, "is nothing: expected a list of tags")]
    ),
    "several tags": Broken(
        """\
        images:
          - from: b
            to: x.example/b
            tags:
              include: [v1, "/a(/"]
              exclude: ["*"]
              versions: ">=16 <"
              newest: "3"
              max_age: 3 months
              keep: 5
        """,
        [
            (5, "'a(' is not a regular expression (RE2): missing )"),
            (6, "leaves nothing"),
            (7, "'>=16 <' is not a range: ends after '<'"),
            (8, "expected a number from 1"),
            (9, "expected a number with h, d or w"),
            (10, "unknown key 'keep'"),
        ],
    ),
    "a policy in a circle": Broken(
        "images:\n  - {from: a.example/x, to: b.example/x, tags: {newest: 3}}\n"
        "  - {from: b.example/x, to: a.example/x, tags: {newest: 3}}\n",
        [(2, "in such a circle no rule can be the first")],
    ),
}

AUTH = {
    "auth: a text": Broken("auth: x\nimages: {b: x.example/b}\n", [(1, "is text: expected a mapping")]),
    "an entry that is a text": auth("quay.io: u", "is text: expected a mapping of username, password"),
    "an unknown key": auth("quay.io: {user: u, pasword: p}", "did you mean 'username'?", "mean 'password'?"),
    "a key in upper case": auth("quay.io: {Insecure: true}", "did you mean 'insecure'?"),
    "a key like no other": auth("quay.io: {zz: 1}", "known are username, password, identity_token"),
    "a number": auth("quay.io: {ca_file: 012345}", 'is a number, not text: quote it: "012345"'),
    "a password that is a yes": auth("quay.io: {username: u, password: true}", "is true or false, not text: quote it"),
    "a list": auth("quay.io: {username: [u], password: p}", "is a list: expected text"),
    "a yes in quotes": auth("quay.io: {insecure: 'yes'}", "expected true or false, without quotes"),
    "a word": auth("quay.io: {insecure: yep}", "expected true or false, without quotes"),
    "a brace": auth("quay.io: {username: u, password: {abc}}", "text that begins with { needs quotes"),
    "a brace that is not closed": Broken(
        "auth:\n  quay.io:\n    password: {abc\nimages: {b: x.example/b}\n",
        [(4, "the { on line 3, column 15 has no } that ends it; text that begins with { needs quotes")],
    ),
    "a bracket that is not closed": Broken(
        "auth:\n  quay.io:\n    password: [abc\nimages: {b: x.example/b}\n",
        [(4, "the [ on line 3, column 15 has no ] that ends it; text that begins with [ needs quotes")],
    ),
    "text after a brace": Broken(
        "auth:\n  quay.io:\n    password: {abc}def\nimages: {b: x.example/b}\n",
        [(3, "begins with {, [ or a quote needs quotes around the whole of it")],
    ),
    "a default for a password": auth(
        "quay.io: {username: '${U:-me}', password: p}", "without a default or an operator"
    ),
    "another shell form": auth("quay.io: {username: u, password: 'x${A-b}'}", "without a default or an operator"),
    "an expression of GitHub's": auth(
        "quay.io: {username: u, password: '${{ secrets.X }}'}", "only GitHub Actions replaces"
    ),
    "a default for a proxy": auth("quay.io: {proxy: 'http://${PROXY:-p}:1'}", "without a default or an operator"),
    "several variables": auth("quay.io: {username: u, password: '${A}${B}x${A}'}", "variables A, B are not set"),
    "a registry with a variable": auth("'${REG}': {}", "environment variables are not replaced here"),
    "a one": auth("quay.io: {insecure: 1}", "is a number: expected true or false"),
    "no password": auth("quay.io: {username: u}", "has no password"),
    "an empty password": auth("quay.io: {username: u, password: ''}", "has no password"),
    "no username": auth("quay.io: {password: p}", "has no username"),
    "a token too many": auth(
        "quay.io: {identity_token: t, username: u, password: p}",
        "excludes username and password",
    ),
    "a key without certificate": auth(f"quay.io: {{client_key: {__file__}}}", "has no client_cert"),
    "a file that is not there": auth("quay.io: {ca_file: no.pem}", "'no.pem' does not exist"),
    "a file that is a directory": auth("quay.io: {ca_file: .}", "'.' is a directory"),
    "a file without a name": auth("quay.io: {ca_file: ''}", "is empty: expected the path"),
    "a proxy that is none": auth("quay.io: {proxy: 'proxy:3128'}", "expected http://host:port"),
    "no proxy": auth("quay.io: {proxy: ''}", "is empty: expected http://host:port"),
    "a variable": auth("quay.io: {username: '$UNSET', password: '${ALSO}'}", "variable UNSET", "variable ALSO"),
    "a password like a variable": auth("quay.io: {username: u, password: $ecret}", "must come from a variable"),
    "an empty variable": auth("quay.io: {username: u, password: $EMPTY}", "EMPTY is set to nothing"),
    "a registry that is none": auth("quay io: {}", "is not a registry"),
    "a namespace alone": auth("team: {}", "docker.io/team?"),
    "an empty registry": auth('"": {}', "the registry is missing"),
    "a namespace that is none": auth("quay.io/Team: {}", "upper case is not allowed"),
    "one registry by two names": Broken(
        "auth:\n  docker.io: {}\n  https://index.docker.io/v1/: {insecure: true}\nimages: {b: x.example/b}\n",
        [(3, "names the same as 'docker.io' on line 2")],
    ),
    "one namespace by two names": Broken(
        "auth:\n  docker.io/team: {}\n  registry-1.docker.io/team/: {insecure: true}\nimages: {b: x.example/b}\n",
        [(3, "both mean docker.io/team, and they differ")],
    ),
}

SEVERAL = {
    "all at once": Broken(
        """\
        auth:
          quay.io: {username: u, pasword: p}
          ghcr.io:
            username: $NOT_SET
            password: true
        defaults: {namespac: x}
        images:
          "": x.example/b
          b:v1,v2: x.example/b:v
          c: [x.example/c, 7]
          c: x.example/d
        extra: 1
        """,
        [
            (2, "did you mean 'password'?"),
            (5, "quote it"),
            (6, "did you mean 'namespace'?"),
            (8, "the source is empty"),
            (9, "2 source tags"),
            (10, 'quote it: "7"'),
            (11, "given twice"),
            (12, "unknown key 'extra'"),
        ],
    ),
    "all at once in json": Broken(
        '{"auth": {\n"a.example": {\n"insecure": "true"}},\n"images": {\n"b": 1, "b": 2,\n"": "c"}}',
        [(3, "expected true or false"), (5, 'quote it: "1"'), (5, "given twice"), (6, "the source is empty")],
        "c.json",
    ),
}

TABLE = {
    f"{part}: {name}": each
    for part, of in (
        ("syntax", SYNTAX),
        ("shape", SHAPE),
        ("rules", RULES),
        ("tags", TAGS),
        ("auth", AUTH),
        ("all", SEVERAL),
    )
    for name, each in of.items()
}


@pytest.mark.parametrize("broken", TABLE.values(), ids=TABLE.keys())
def test_each_error_of_a_broken_configuration_is_reported_with_its_line(broken: Broken, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text(textwrap.dedent(broken.text), broken.name, folder=tmp_path, environment={"EMPTY": ""})
    found = caught.value.diagnostics
    assert [each.line for each in found] == [line for line, _ in broken.expected], str(caught.value)
    for diagnostic, (line, words) in zip(found, broken.expected, strict=True):
        assert words in diagnostic.message
        assert diagnostic.file == broken.name
        assert str(diagnostic).startswith(f"{broken.name}:{line}:" if line else f"{broken.name}:")


def test_the_key_and_the_column_are_reported() -> None:
    text = "auth:\n  quay.io: {username: u, pasword: p}\nimages:\n  - {from: b, to: [x.example/b, 1]}\n"
    with pytest.raises(ConfigurationError) as caught:
        load_text(text, "c.yaml", environment={})
    first, second = caught.value.diagnostics
    assert (first.key, first.line, first.column) == ("auth.quay.io.pasword", 2, 26)
    assert (second.key, second.line, second.column) == ("images[0].to[1]", 4, 33)
    assert str(caught.value).count("\n") == 1


def test_an_error_survives_being_pickled() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text("images: 1\nother: 2\n", "c.yaml", environment={})
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.diagnostics, str(again)) == (caught.value.diagnostics, str(caught.value))


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["images:", "  - &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  - &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigurationError, match="repeat more than"):
        load_text("\n".join(lines), "bomb.yaml", environment={})


def test_a_bomb_of_merges_is_refused() -> None:
    lines = ["images:", "  - &m0 {a: x}"]
    lines += [f"  - &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    with pytest.raises(ConfigurationError, match="repeat more than"):
        load_text("\n".join(lines), "bomb.yaml", environment={})
