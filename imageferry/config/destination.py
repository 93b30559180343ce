"""A rule's destination: ``repo``, ``repo:t1,t2``, or ``""`` for the default registry."""

from __future__ import annotations

from collections.abc import Mapping

from imageferry.config.defaults import Defaults
from imageferry.config.environment import (
    UNKNOWN_ENVIRONMENT,
    VariableError,
    expand,
    has_variables,
    refuse_other_forms,
)
from imageferry.config.source import Item, RuleError, refuse_duplicate_tags, refuse_scheme, split_items
from imageferry.errors import ImageferryError
from imageferry.model import Destination, Source
from imageferry.reference import Reference, split_repository


def parse_destination(
    text: str,
    source: Source,
    defaults: Defaults,
    environment: Mapping[str, str],
) -> Destination | None:
    """Parse one destination of ``source``; return None if it cannot be known.

    That is ``""`` with unusable defaults, and a text with variables in the ``UNKNOWN_ENVIRONMENT``. Raises
    ``ImageferryError`` that says what is wrong; the value of a variable is never in it.
    """
    if not text:
        return _default_destination(source, defaults)
    refuse_other_forms(text)
    if not has_variables(text):
        return _parse(text, source)
    if environment is UNKNOWN_ENVIRONMENT:
        return None
    try:
        return _parse(expand(text, environment), source)
    except VariableError:
        raise
    except ImageferryError:
        names = "its environment variables are filled in"
    raise RuleError(f"is no destination for this source once {names}: expected registry/repository")


def _default_destination(source: Source, defaults: Defaults) -> Destination | None:
    if defaults.unusable:
        return None
    if defaults.registry is None:
        raise RuleError(
            '"" means the default registry, and none is known: give --registry, set DEFAULT_REGISTRY, '
            "or write defaults: {registry: …}",
        )
    name = source.repository.repository.rpartition("/")[2]
    path = "/".join(filter(None, (defaults.registry, defaults.namespace, name)))
    destination = Destination(Reference(*split_repository(path)))
    _refuse_itself(destination, source)
    return destination


def _parse(text: str, source: Source) -> Destination:
    refuse_scheme(text)
    if ":/" in text:
        raise RuleError("a destination has no regular expression: the source's tags keep their names")
    if "$" in text:
        raise RuleError("a $ is not allowed here: write ${NAME} for an environment variable")
    repository, items = split_items(text)
    destination = Destination(Reference(*split_repository(repository)), _match_targets(items, source))
    _refuse_itself(destination, source)
    return destination


def _match_targets(items: list[Item], source: Source) -> tuple[str, ...]:
    """Return the destination's tags and digests, one for each item of the source; none if the source's are kept."""
    if not items:
        return ()
    if not source.items:
        return _target_of_match(items, source)
    if len(items) != len(source.items):
        if len(items) == 1:
            raise RuleError(
                f"{len(source.items)} source tags would end under one name: leave the destination's tag out, "
                f"or give {len(source.items)}",
            )
        raise RuleError(f"has {len(items)} tags for the source's {len(source.items)}: expected as many, or none")
    refuse_duplicate_tags(items)
    return tuple(_target(item, copied) for item, copied in zip(items, source.items, strict=True))


def _target_of_match(items: list[Item], source: Source) -> tuple[str, ...]:
    """Return the one name that what an expression matches may get: that it is one tag is seen once they are listed."""
    if source.pattern is None and source.policy is None:
        raise RuleError("all tags would end under one name: leave the destination's tag out")
    if len(items) > 1:
        what = "an expression's tags" if source.pattern else "tags that a policy chooses"
        raise RuleError(f"{what} cannot be paired: leave the destination's tags out, or give one")
    (item,) = items
    if item.tag is None or item.digest:
        what = "an expression matches" if source.pattern else "a policy chooses"
        raise RuleError(f"what {what} is no digest: expected a tag, or none")
    return (item.tag,)


def _target(item: Item, copied: Reference) -> str:
    if item.digest and item.digest != copied.digest:
        other = "has another" if copied.digest else "has none"
        raise RuleError(f"digest {item.digest} is not the source's, which {other}: expected a tag, or no digest")
    return item.tag or item.digest or ""


def _refuse_itself(destination: Destination, source: Source) -> None:
    if destination.repository != source.repository:
        return
    kept = [each.tag or each.digest for each in source.items]
    # What an expression matches is compared once its tags are listed.
    if not destination.targets or any(a == b for a, b in zip(destination.targets, kept, strict=bool(kept))):
        raise RuleError("the rule copies onto itself: source and destination are the same")
