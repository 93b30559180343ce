"""Patterns of tags and of repositories: globs, and regular expressions between slashes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import re2

from imageferry.errors import ImageferryError

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|\{[^{}]*\}|.", re.DOTALL)


class PatternError(ImageferryError, ValueError):
    """A text is neither a glob nor a regular expression."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A glob, which matches whole, or ``/expression/`` (RE2), which matches anywhere.

    In a glob ``*`` is any text without a slash, ``**`` any text, ``?`` one character, ``[abc]`` and ``[!abc]`` one of
    some, ``{a,b}`` alternatives.
    """

    text: str
    _search: Callable[[str], object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = self.text
        is_expression = len(text) > 1 and text.startswith("/") and text.endswith("/")
        if is_expression:
            compiled = compile_expression(text[1:-1], text[1:-1], "a regular expression (RE2)")
        else:
            compiled = compile_expression(translate_glob(text), text)
        object.__setattr__(self, "_search", compiled.search)

    def matches(self, name: str) -> bool:
        """Return whether a tag or a path matches."""
        return self._search(name) is not None


@dataclass(frozen=True, slots=True)
class Patterns:
    """Several patterns, of which one has to match."""

    patterns: tuple[Pattern, ...]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Patterns:
        """Parse each text. Raises ``PatternError``."""
        return cls(tuple(Pattern(text) for text in texts))

    def matches(self, name: str) -> bool:
        """Return whether one of them matches."""
        return any(pattern.matches(name) for pattern in self.patterns)

    def match_everything(self) -> bool:
        """Return whether it can be seen that nothing fails to match."""
        return any(pattern.text in ("*", "**", "//", "/.*/") for pattern in self.patterns)


def translate_glob(glob: str, *, capture: bool = False) -> str:
    """Return a glob as an anchored expression (RE2); ``capture`` makes groups of what ``*`` and ``**`` match."""
    opening = "(" if capture else "(?:"
    return r"\A(?s:" + "".join(_translate(token, opening) for token in _TOKEN.findall(glob)) + r")\z"


def _translate(glob: str, opening: str) -> str:
    if glob == "**/":
        # Also no folder at all: a/**/b matches a/b.
        return f"{opening}.*/)?" if opening == "(?:" else f"{opening}.*)/"
    if glob in ("**", "*", "?"):
        return {"**": f"{opening}.*)", "*": f"{opening}[^/]*)", "?": "[^/]"}[glob]
    if glob[0] == "[" and len(glob) > 2:
        inside = glob[1:-1]
        inverted = inside.startswith("!")
        return f"[{'^' if inverted else ''}{_escape_class(inside[inverted:])}]"
    if glob[0] == "{" and len(glob) > 2:
        parts = (translate_glob(part)[len(r"\A(?s:") : -len(r")\z")] for part in glob[1:-1].split(","))
        return f"(?:{'|'.join(parts)})"
    return re.escape(glob)


def _escape_class(text: str) -> str:
    return re.sub(r"([\\\[\]^])", r"\\\1", text)


def compile_expression(expression: str, text: str, kind: str = "a pattern") -> re2._Regexp:
    """Compile an expression (RE2: linear in what it is matched with).

    Raises ``PatternError`` that says of ``text``, as it is written, that it is not of this ``kind``.
    """
    options = re2.Options()
    # RE2 would write an error to standard error as well.
    options.log_errors = False
    try:
        return re2.compile(expression, options)
    except re2.error as error:
        problem = error.args[0] if error.args else "cannot be read"
        words = problem.decode() if isinstance(problem, bytes) else str(problem)
    raise PatternError(f"{text!r} is not {kind}: {words}")
