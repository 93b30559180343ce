"""The text of a configuration file, told apart as JSON or YAML and read."""

from __future__ import annotations

import re

from imageferry.config.diagnostics import ConfigurationError, Diagnostic
from imageferry.config.document import Document, Position

#: More is no configuration, and would fill the memory before anything can be said.
SIZE_LIMIT = 64 * 1024 * 1024

# What YAML forbids in a file; JSON forbids most of it too.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


def read_document(data: bytes | str, name: str) -> Document:
    """Read the text of a file named ``name``: JSON if it ends in ``.json`` or is JSON, else YAML.

    Raises ``ConfigurationError`` when it cannot be read at all; what is wrong inside it stands in ``faults``.
    """
    text = decode(data, name) if isinstance(data, bytes) else data.removeprefix("\ufeff")
    _refuse_controls(text, name)
    if not text.strip():
        raise ConfigurationError([Diagnostic(name, 0, 0, "", "is empty: expected at least images")])
    from imageferry.config.text import json_reader, yaml_reader  # noqa: PLC0415 - both build on this module

    if name.lower().endswith(".json"):
        if (error := json_reader.syntax_error(text)) is not None:
            raise ConfigurationError([json_reader.explain(error, name, yaml_reader.is_block_mapping(text))])
        return json_reader.read(text, name)
    # JSON in a file of another name: YAML would refuse its tabs and its surrogate pairs.
    if text.lstrip()[0] in "{[" and json_reader.syntax_error(text) is None:
        return json_reader.read(text, name)
    return yaml_reader.read(text, name)


def decode(data: bytes, name: str) -> str:
    """Decode UTF-8, with or without a byte order mark; raises ``ConfigurationError`` with the line."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ConfigurationError([Diagnostic(name, 1, 1, "", "is UTF-16: save it as UTF-8")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8-sig")) + 1
        fault = Diagnostic(
            name, line, column, "", f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8"
        )
    raise ConfigurationError([fault])


def position_of(text: str, offset: int) -> Position:
    """Give the place of the character at ``offset``."""
    return Position(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def _refuse_controls(text: str, name: str) -> None:
    found = _CONTROL.search(text)
    if found is not None:
        mark = position_of(text, found.start())
        problem = f"the character U+{ord(found[0]):04X} is not allowed: write it as an escape in double quotes"
        raise ConfigurationError([Diagnostic(name, mark.line, mark.column, "", problem)])
