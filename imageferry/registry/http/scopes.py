"""The scopes of a token, ``repository:a/b:pull,push`` (distribution's token scope specification)."""

from __future__ import annotations

# Scopes of one token, and characters of one scope: a registry could name more with each answer.
MOST_SCOPES = 16
SCOPE_LENGTH = 1024


def widen(scopes: tuple[str, ...], named: str) -> tuple[str, ...]:
    """Return the scopes, and after them what a challenge names and they lack; the same ones if they lack nothing.

    Actions on a resource that is among them are added to its scope: some token servers read only the first.
    """
    wide = {resource: list(actions) for resource, actions in map(_split, scopes)}
    for scope in named.split():
        resource, actions = _split(scope)
        if len(scope) > SCOPE_LENGTH or not actions or not scope.isprintable() or not scope.isascii():
            continue
        known = wide.get(resource, [])
        lacking = [action for action in actions if action not in known and "*" not in known]
        if lacking and len(wide.keys() | {resource}) <= MOST_SCOPES and len(known) + len(lacking) <= MOST_SCOPES:
            wide[resource] = known + lacking
    return tuple(f"{resource}:{','.join(actions)}" for resource, actions in wide.items())


def _split(scope: str) -> tuple[str, list[str]]:
    resource, _, actions = scope.rpartition(":")
    return resource, [action for action in actions.split(",") if action] if resource else []
