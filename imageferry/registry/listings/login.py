"""How a listing logs in where the registry's own tokens do not help: with the name and password of its entry."""

from __future__ import annotations

import base64

from imageferry.model import RegistryAccess
from imageferry.registry.errors import LoginFailed


def login_of(access: RegistryAccess | None, action: str) -> tuple[str, str] | None:
    """Return the user name and password of an entry; None for nobody.

    Raises ``LoginFailed`` for an identity token alone: what is listed for nobody would be less than was meant.
    """
    if access is None:
        return None
    if access.username is not None and access.password is not None:
        return access.username.get_secret_value(), access.password.get_secret_value()
    if access.identity_token is not None:
        advice = "give a username and a password or token for this registry in auth"
        raise LoginFailed(action, "an identity token lists no repositories there", advice=advice)
    return None


def basic_authorization(login: tuple[str, str] | None) -> str:
    """Return the header of a login as ``Basic`` has it (RFC 7617); empty for nobody."""
    return "" if login is None else f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"


def bearer_authorization(login: tuple[str, str] | None) -> str:
    """Return the header of a login whose password is a token (RFC 6750, 2.1); empty for nobody."""
    return "" if login is None else f"Bearer {login[1]}"
