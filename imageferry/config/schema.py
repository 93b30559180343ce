"""The shape of a configuration file: which keys there are and what each takes."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imageferry.config.document import Document, KeyPath, Number, type_name


class Schema(BaseModel):
    """A mapping with known keys only, and values of exactly the declared type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class FileSchema(Schema):
    """A whole file. The values of its keys are checked part by part, so that one error does not hide another.

    Keys that begin with ``x-`` are left out before: they hold anchors, as in compose files.
    """

    auth: Any = None
    registries: Any = None
    defaults: Any = None
    images: Any = None


class DefaultsSchema(Schema):
    """The destination of a rule whose destination is ``""``, and the options of all rules."""

    registry: str | None = None
    namespace: str | None = None
    # Checked by itself: see ``RuleDefaultsSchema``.
    rules: Any = None


class RuleDefaultsSchema(Schema):
    """The options of rules that do not say them themselves."""

    platforms: list[str] | None = None
    existing: Any = None
    immutable: list[str] | None = None
    # One of several forms, checked by hand.
    tags: Any = None


class AccessSchema(Schema):
    """An entry of ``auth`` as it is written."""

    username: str | None = Field(default=None, repr=False)
    password: str | None = Field(default=None, repr=False)
    identity_token: str | None = Field(default=None, repr=False)
    insecure: bool = False
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = Field(default=None, repr=False)
    credentials: str | None = None


class RegistrySchema(Schema):
    """An entry of ``registries``; its first keys are checked by hand: they alone take numbers."""

    requests: Any = None
    requests_per_second: Any = None
    bandwidth: Any = None
    foreign_layers: bool = False
    create_repositories: bool = False


class EntrySchema(Schema):
    """A rule in the form with options. The values of ``from`` and ``to`` are checked as those of the other form."""

    source: Any = Field(alias="from")
    to: Any
    platforms: list[str] | None = None
    existing: Any = None
    immutable: list[str] | None = None
    # One of several forms, checked by hand.
    tags: Any = None


# Values that must not be shown, not even when they have the wrong type.
_SECRET = frozenset({"username", "password", "identity_token", "proxy"})

# Texts that may be digits.
_DIGITS = frozenset({"username", "password", "identity_token"})

Model = TypeVar("Model", bound=BaseModel)


def validate(document: Document, path: KeyPath, model: type[Model]) -> Model | None:
    """Return the value at ``path`` as ``model``, or None after reporting every error in it."""
    value = document.at(path)
    if not isinstance(value, dict):
        document.report(path, f"is {type_name(value)}: expected a mapping of {_known(model)}")
        return None
    _fit_values(document, path, value, model)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
    for each in found:
        inner = (*path, *each["loc"])
        if each["type"] == "extra_forbidden":
            document.report(inner, _unknown(str(each["loc"][-1]), model), at_key=True)
        elif each["type"] == "missing":
            document.report(path, f"{str(each['loc'][-1])!r} is missing: expected {_known(model)}")
        else:
            document.report(inner, wrong_type(each["input"], _EXPECTED.get(each["type"], "another value"), inner))
    return None


def _fit_values(document: Document, path: KeyPath, value: dict[str, Any], model: type[BaseModel]) -> None:
    """Take ``yes`` and ``off`` where true or false is expected, and digits for a password, as their text stands.

    So does image-syncer (Go's yaml.v2), in whose files both stand without quotes.
    """
    for key, item in value.items():
        expected = model.model_fields.get(key)
        if expected is None:
            continue
        if expected.annotation is bool:
            value[key] = document.truths.get((*path, key), item)
        elif key in _DIGITS and isinstance(item, Number):
            value[key] = item.text


_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "list_type": "a list",
}


def wrong_type(value: object, expected: str, path: KeyPath) -> str:
    """Return the message for a value of the wrong type, with how to write it; secrets are not shown."""
    secret = bool(path) and path[-1] in _SECRET
    if expected == "text" and isinstance(value, (Number, bool)):
        written = value.text if isinstance(value, Number) else str(value).lower()
        return f"is {type_name(value)}, not text: quote it" + ("" if secret else f': "{written}"')
    if expected == "true or false" and isinstance(value, str):
        return "is text: expected true or false, without quotes"
    if expected == "text" and isinstance(value, (dict, list)):
        first = "{" if isinstance(value, dict) else "["
        return f"is {type_name(value)}: expected text; text that begins with {first} needs quotes"
    return f"is {type_name(value)}: expected {expected}"


def _names(model: type[BaseModel]) -> list[str]:
    return [each.alias or name for name, each in model.model_fields.items()]


def _known(model: type[BaseModel]) -> str:
    *most, last = _names(model)
    return f"{', '.join(most)} and {last}" if most else last


def _unknown(key: str, model: type[BaseModel]) -> str:
    near = difflib.get_close_matches(key.lower(), _names(model), 1)
    return f"unknown key {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"known are {_known(model)}")
