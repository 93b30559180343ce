"""YAML (1.2, the core schema) to plain values with their positions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml

from imageferry.config.diagnostics import ConfigurationError
from imageferry.config.document import DEPTH_LIMIT, Document, KeyPath, Number, Position, is_repeated_rule

if TYPE_CHECKING:
    from yaml import SafeLoader as FastestLoader
else:
    FastestLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Characters of a key without "?" before it (YAML 1.2.2, "7.4.2. Flow Mappings"; libyaml).
KEY_LIMIT = 1024

# How many nodes aliases may repeat: enough for shared credentials, a bound for a bomb.
REPEATS_LIMIT = 100_000

_PLAIN = "!plain"
_STR = "tag:yaml.org,2002:str"
_KNOWN = {
    "tag:yaml.org,2002:map": yaml.MappingNode,
    "tag:yaml.org,2002:seq": yaml.SequenceNode,
    _STR: yaml.ScalarNode,
    _PLAIN: yaml.ScalarNode,
}
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Truth values of YAML 1.1, as Go's yaml.v2 reads them (resolve.go); in 1.2 they are text.
_YAML_1_1_TRUTHS = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_NUMBER = re.compile(
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
)
_QUOTED = re.compile(r"'([^'<]{2,})'")


class _Loader(FastestLoader):
    """Composes nodes, and leaves scalars as text: PyYAML would read ``yes``, ``22:30`` by YAML 1.1."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """Return a tag of its own for a scalar without quotes or tag, that of its kind for everything else."""
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _STR
        return "tag:yaml.org,2002:seq" if kind is yaml.SequenceNode else "tag:yaml.org,2002:map"


def read(text: str, name: str) -> Document:
    """Parse YAML; raises ``ConfigurationError`` for a syntax error, an empty file and a bomb of aliases."""
    node = _compose(text, name)
    if node is None:
        raise ConfigurationError.of(name, "is empty: expected at least images")
    reader = _Reader(name)
    reader.document.value = reader.value(node, ())
    return reader.document


def is_block_mapping(text: str) -> bool:
    """Return whether a text is YAML of the kind that is never JSON: ``key: value`` without braces."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError):
        return False
    return isinstance(node, yaml.MappingNode) and not node.flow_style


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise ConfigurationError.of(name, _describe(error), line, column) from None
    except (yaml.YAMLError, RecursionError):
        raise ConfigurationError.of(name, "is not YAML, or is nested too deep") from None
    return node


# Words of the parser, and what is said in their place.
_EXPLANATIONS = {
    "undefined alias": "an alias (*) to nothing: text that begins with * needs quotes",
    "duplicate anchor": "an anchor (&) is given twice: text that begins with & needs quotes",
    "undefined tag handle": "a tag (!) is not known here: text that begins with ! needs quotes",
    "another document": "a second document (---): expected one document in a file",
    "unknown escape": r"is not YAML: \ begins an escape in double quotes, and this is none: use single quotes, in "
    r"which \d and such stay as they are",
}
_HINTS = {
    "cannot start any token": "text that begins with @, ` or %, and indentation by tabs, are not YAML: use quotes, and "
    "spaces",
    "expected key": "text that begins with {, [ or a quote needs quotes around the whole of it",
}


def _describe(error: yaml.MarkedYAMLError) -> str:
    """Return what the parser found without repeating a word of the file: it may be a password."""
    problem = error.problem or "cannot be read"
    for words, explanation in _EXPLANATIONS.items():
        if words in f"{problem} {error.context}":
            return explanation
    if explanation := _describe_long_key(error, problem) or _describe_open_bracket(error, problem):
        return explanation
    problem += "".join(f"; {hint}" for words, hint in _HINTS.items() if words in problem)
    where = f" ({error.context})" if error.context else ""
    return _QUOTED.sub("what stands there", f"is not YAML: {problem}{where}")


def _describe_long_key(error: yaml.MarkedYAMLError, problem: str) -> str:
    mark = error.problem_mark
    if mark is None or mark.column <= KEY_LIMIT or not re.search("mapping values|expected ':'|',' or", problem):
        return ""
    return (
        f"a key of more than {KEY_LIMIT:,} characters, which YAML takes only as '? key' with ': value' on the next "
        "line: write that, or the rule as - from: … and to: …"
    )


def _describe_open_bracket(error: yaml.MarkedYAMLError, problem: str) -> str:
    found, opened = re.search("expected ',' or '([]}])'", problem), error.context_mark
    if found is None or opened is None:
        return ""
    first = "{" if found[1] == "}" else "["
    where = f"{first} on line {opened.line + 1}, column {opened.column + 1}"
    return f"is not YAML: the {where} has no {found[1]} that ends it; text that begins with {first} needs quotes"


class _Reader:
    """Walks a graph of nodes, recording the position of each key and value."""

    def __init__(self, name: str) -> None:
        self.document = Document(name)
        self._seen: set[int] = set()
        self._open: set[int] = set()
        self._repeats = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        """Return a node as a plain value. Raises ``ConfigurationError`` for a bomb of aliases and too deep nesting."""
        self._bound(node, path)
        self.document.values[path] = _position_of(node)
        if not isinstance(node, _KNOWN.get(node.tag, ())):
            problem = "has a tag (!), which is not allowed here: text that begins with ! needs quotes"
            self._refuse(node, path, problem)
            return None
        if isinstance(node, yaml.ScalarNode):
            if node.tag == _PLAIN and node.value in _YAML_1_1_TRUTHS:
                self.document.truths[path] = _YAML_1_1_TRUTHS[node.value]
            return _scalar(node)
        self._open.add(id(node))
        found: Any = None
        if isinstance(node, yaml.SequenceNode):
            found = [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            found = self._mapping(node, path)
        self._open.discard(id(node))
        return found

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        found = {}
        for key, (key_node, value_node) in self._pairs(node, path).items():
            inner = (*path, key)
            self.document.keys[inner] = _position_of(key_node)
            found[key] = self.value(value_node, inner)
        return found

    def _pairs(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return a mapping's own keys and those it merges (``<<``), which the own ones override."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if key.tag == _PLAIN and key.value == "<<":
                for source in self._merge_sources(value, path):
                    for name, pair in self._merged(source, path).items():
                        merged.setdefault(name, pair)
            elif key.tag not in (_PLAIN, _STR):
                self._refuse(key, path, "a key here is no text: expected a name, without a tag (!)")
            elif key.value in own:
                first, first_value = own[key.value]
                if not is_repeated_rule(path, key.value, _plain(first_value), _plain(value)):
                    problem = f"is given twice: it stands on line {_position_of(first).line} too"
                    self.document.report_at(_position_of(key), (*path, key.value), problem)
            else:
                own[key.value] = (key, value)
        return {**{name: pair for name, pair in merged.items() if name not in own}, **own}

    def _merged(self, source: yaml.MappingNode, path: KeyPath) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        self._bound(source, path)
        self._open.add(id(source))
        self._repeats += len(source.value)
        pairs = self._pairs(source, path)
        self._open.discard(id(source))
        return pairs

    def _merge_sources(self, node: yaml.Node, path: KeyPath) -> Iterator[yaml.MappingNode]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(source, yaml.MappingNode):
                yield source
            else:
                self._refuse(source, path, "<< takes a mapping or a list of mappings, such as *anchor")

    def _bound(self, node: yaml.Node, path: KeyPath) -> None:
        """Stop where aliases go in a circle, or repeat so much that the values would not fit in memory."""
        if id(node) in self._open:
            raise self._error(node, "an alias (*) stands inside what it names")
        if len(path) > DEPTH_LIMIT or len(self._open) > 2 * DEPTH_LIMIT:
            raise self._error(node, "is nested too deep")
        self._repeats += id(node) in self._seen
        self._seen.add(id(node))
        if self._repeats > REPEATS_LIMIT:
            raise self._error(node, f"aliases (*) repeat more than {REPEATS_LIMIT} values")

    def _error(self, node: yaml.Node, problem: str) -> ConfigurationError:
        return ConfigurationError.of(self.document.name, problem, *_position_of(node))

    def _refuse(self, node: yaml.Node, path: KeyPath, problem: str) -> None:
        self.document.report_at(_position_of(node), path, problem)
        self.document.broken = True


def _plain(node: yaml.Node) -> str | list[str] | None:
    """Return the text of a node, or the list of them; None for any other value."""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return [item.value for item in node.value]
    return None


def _position_of(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def _scalar(node: yaml.ScalarNode) -> str | bool | Number | None:
    text: str = node.value
    if node.tag == _STR:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return Number(text) if _NUMBER.fullmatch(text) else text
