"""A configuration's text: read from its file, decoded, and parsed as JSON or YAML."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from imageferry.config.diagnostics import ConfigurationError
from imageferry.config.document import Document
from imageferry.config.text import json_reader, yaml_reader

# In bytes: more is no configuration, and would fill the memory before any error can be reported.
SIZE_LIMIT = 64 * 1024 * 1024

# What YAML forbids in a file; JSON forbids most of it too.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


# Returns the content of a file; raises ``ConfigurationError``.
ReadBytes = Callable[[Path], bytes]


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, of ``SIZE_LIMIT`` at most. Raises ``ConfigurationError`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigurationError.of(str(path), _describe(error)) from None
    except ValueError:
        raise ConfigurationError.of(str(path), "is not a path") from None
    if len(data) > SIZE_LIMIT:
        raise ConfigurationError.of(str(path), f"is larger than {SIZE_LIMIT >> 20} MiB: expected a configuration")
    return data


def read_document(data: bytes | str, name: str) -> Document:
    """Parse the text of a file named ``name``: JSON if it ends in ``.json`` or is JSON, else YAML.

    Raises ``ConfigurationError`` if it cannot be parsed at all; errors inside it are in ``Document.diagnostics``.
    """
    text = _decode(data, name) if isinstance(data, bytes) else data.removeprefix("\ufeff")
    _refuse_controls(text, name)
    if not text.strip():
        raise ConfigurationError.of(name, "is empty: expected at least images")
    if name.lower().endswith(".json"):
        if (error := json_reader.syntax_error(text)) is not None:
            raise json_reader.explain(error, name, is_yaml=yaml_reader.is_block_mapping(text))
        return json_reader.read(text, name)
    # JSON in a file of another name: YAML would refuse its tabs and its surrogate pairs.
    if text.lstrip()[0] in "{[" and json_reader.syntax_error(text) is None:
        return json_reader.read(text, name)
    return yaml_reader.read(text, name)


def read_file(path: Path, read: ReadBytes = read_bytes) -> Document:
    """Read and parse a file; see ``read_document``. Raises ``ConfigurationError`` if it cannot be read at all."""
    return read_document(read(path), str(path))


def _decode(data: bytes, name: str) -> str:
    """Decode UTF-8, with or without a byte order mark; raises ``ConfigurationError`` with the line."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ConfigurationError.of(name, "is UTF-16: save it as UTF-8", 1, 1)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8-sig")) + 1
        problem = f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8"
    raise ConfigurationError.of(name, problem, line, column)


def _refuse_controls(text: str, name: str) -> None:
    found = _CONTROL.search(text)
    if found is not None:
        offset = found.start()
        problem = f"the character U+{ord(found[0]):04X} is not allowed: write it as an escape in double quotes"
        line, column = text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
        raise ConfigurationError.of(name, problem, line, column)


def _describe(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "does not exist: expected a JSON or YAML file"
        case IsADirectoryError():
            return "is a directory: expected a JSON or YAML file"
        case PermissionError():
            return "cannot be read: no permission"
        case _:
            return f"cannot be read: {error.strerror or type(error).__name__}"
