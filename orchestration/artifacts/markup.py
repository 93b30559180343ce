"""Foreign text in artifacts: Prefect's UI reads Markdown and HTML in texts, descriptions and the cells of tables."""

from __future__ import annotations

import re

from imageferry.text import escape_control

# What begins or makes a construct of CommonMark or of GitHub's extensions to it, which the UI renders. An underscore
# within a word makes none, nor does an address without a dot after the @, such as ``app@sha256:…``.
_MARKUP = re.compile(
    r"[\\`*\[\]<>|~&$^{}]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|www\.|@\S*\.|^\s*(?:[#=+-]|\d+[.)]\s)",
    re.IGNORECASE,
)
_BACKTICKS = re.compile("`+")


def quote_markup(text: str) -> str:
    """Return foreign text so that nothing in it is markup: as it is, or as a span of code where it could be any.

    Backslashes would be seen, as one of Prefect's two UIs renders the cells of tables and the other does not; and
    they do not keep an address from becoming a link (github-flavored-markdown, "autolinks").
    """
    text = escape_control(text)
    if not _MARKUP.search(text):
        return text
    # CommonMark 6.1: the span ends at as many backticks as it began with; a space inside each end is taken off.
    fence = "`" * (max((len(run) for run in _BACKTICKS.findall(text)), default=0) + 1)
    space = " " if text.startswith(("`", " ")) or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"
