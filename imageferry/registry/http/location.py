"""Where an answer leads: the addresses in ``Location``, ``Link`` and challenges, followed byte for byte.

The addresses of object stores are signed: to decode and encode one anew, even to something equivalent, breaks it.
"""

from __future__ import annotations

import re

import httpx

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

# Names and addresses; httpx lets all else be, percent-encoded.
_HOST = re.compile(rb"[A-Za-z0-9._~:-]+")

# How much of a Link header is read, in characters: a longer one could hide that there is a next page.
LINK_LIMIT = 64 * 1024


def read_location(headers: httpx.Headers) -> str:
    """Return the ``Location`` of an answer, empty if it has none: bytes that are not UTF-8 are percent-encoded."""
    raw = next((value for name, value in headers.raw if name.lower() == b"location"), b"")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(chr(each) if each < 0x80 else f"%{each:02X}" for each in raw)


def resolve(asked: httpx.URL, address: str) -> httpx.URL:
    """Return the address to which an answer to a request to ``asked`` leads (RFC 3986, 5.2).

    Nothing of its path and query is decoded or encoded, but for characters that no address may have. Raises
    ``httpx.InvalidURL`` if it is none.
    """
    path, mark, query = asked.raw_path.decode().partition("?")
    if _SCHEME.match(address):
        url = httpx.URL(address)
    elif address.startswith("//"):
        url = httpx.URL(f"{asked.scheme}:{address}")
    else:
        if address.startswith("?"):
            address = path + address
        elif address.startswith("#") or not address:
            address = path + mark + query
        elif not address.startswith("/"):
            address = path[: path.rfind("/") + 1] + address
        url = httpx.URL(f"{origin_of(asked)}{address}")
    if not _HOST.fullmatch(url.raw_host):
        raise httpx.InvalidURL("it names no host")
    if url.port is not None and not 0 < url.port < 65536:
        raise httpx.InvalidURL(f"there is no port {url.port}")
    return url


def append_query(url: httpx.URL, query: str) -> httpx.URL:
    """Return the address with more of a query, which is encoded already; what it has stays as it is."""
    raw = url.raw_path.decode()
    joint = "" if raw.endswith(("?", "&")) else "&" if "?" in raw else "?"
    return url.copy_with(raw_path=f"{raw}{joint}{query}".encode()) if query else url


def next_link(headers: httpx.Headers) -> str:
    """Return the address with the relation ``next`` in ``Link`` (RFC 8288); empty if there is none.

    Raises ``httpx.InvalidURL`` if the header is too long to tell.
    """
    header: str = headers.get("link", "")
    for entry in header[:LINK_LIMIT].split("<")[1:]:
        address, closed, parameters = entry.partition(">")
        if closed and _is_next(parameters):
            return address
    if len(header) > LINK_LIMIT:
        raise httpx.InvalidURL("its header is too long")
    return ""


def _is_next(parameters: str) -> bool:
    for parameter in parameters.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "rel":
            return "next" in value.strip(' \t,"').lower().split()
    return False


def origin_of(url: httpx.URL) -> str:
    """Return the scheme, host and port of an address."""
    return f"{url.scheme}://{url.netloc.decode()}"
