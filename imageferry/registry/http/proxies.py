"""Proxies: those of the environment, as Go's ``golang.org/x/net/http/httpproxy`` reads them, and SOCKS."""

from __future__ import annotations

import base64
import importlib.util
import ipaddress
import urllib.request
from dataclasses import dataclass

import httpx

from imageferry.registry.errors import InvalidResponse

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Exception:
    """An entry of ``NO_PROXY``: a network, or a domain with its subdomains (``whole``: the domain itself, too)."""

    network: _Network | None = None
    domain: str = ""
    whole: bool = True
    port: int | None = None

    def covers(self, host: str, port: int | None, address: _Address | None) -> bool:
        """Whether requests to a host go past the proxy."""
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address is not None and address in self.network
        return address is None and (host.endswith(f".{self.domain}") or (self.whole and host == self.domain))


class EnvironmentProxies:
    """The proxies that HTTP_PROXY, HTTPS_PROXY and ALL_PROXY name, and the hosts that NO_PROXY excepts.

    This machine itself (``localhost`` and loopback addresses) is never asked for through them. Raises ``ValueError`` or
    ``httpx.InvalidURL`` for an address that is none.
    """

    def __init__(self) -> None:
        found = urllib.request.getproxies()
        entries = [entry.strip().lower() for entry in found.get("no", "").split(",")]
        self._excepts_all = "*" in entries
        self._exceptions = [each for entry in entries if (each := _parse_exception(entry)) is not None]
        self._proxies = {
            scheme: parse_proxy(found[scheme] if "://" in found[scheme] else f"http://{found[scheme]}")
            for scheme in ("http", "https", "all")
            if found.get(scheme)
        }

    def proxy_for(self, url: httpx.URL) -> httpx.Proxy | None:
        """Return the proxy for an address; None to go there directly."""
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        if proxy is None or self._excepts_all:
            return None
        host = url.raw_host.decode().strip("[]").lower().rstrip(".")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if host == "localhost" or (address is not None and address.is_loopback):
            return None
        port = url.port or _DEFAULT_PORTS.get(url.scheme)
        return None if any(each.covers(host, port, address) for each in self._exceptions) else proxy


def environment_addresses() -> list[str]:
    """Return the addresses of the environment's proxies, perhaps with passwords."""
    return [address for scheme, address in urllib.request.getproxies().items() if scheme != "no"]


def _parse_exception(entry: str) -> _Exception | None:
    """Return an entry of ``NO_PROXY``: ``10.0.0.0/8``, ``10.0.0.1:80``, ``example.com``, ``.example.com:443``.

    ``*.example.com`` is ``.example.com``, the subdomains alone. What is none of these is ignored; so is ``*`` here.
    """
    host, port = entry, None
    before, colon, after = entry.rpartition(":")
    if colon and after.isdigit() and (":" not in before or before.endswith("]")):
        host, port = before, int(after)
    try:
        return _Exception(network=ipaddress.ip_network(host.strip("[]"), strict=False), port=port)
    except ValueError:
        domain = host.removeprefix("*").removeprefix(".")
        whole = domain == host
        return _Exception(domain=domain, whole=whole, port=port) if domain.strip(".*") else None


def parse_proxy(address: str) -> httpx.Proxy:
    """Return a proxy whose credentials are the header from which aiohttp makes ``Proxy-Authorization``.

    Raises ``ValueError`` or ``httpx.InvalidURL`` for an address that is none.
    """
    proxy = httpx.Proxy(address)
    if not proxy.url.host:
        raise ValueError("a proxy without a host")
    if proxy.auth is None or is_socks(proxy.url):
        return proxy
    encoded = base64.b64encode(":".join(proxy.auth).encode()).decode()
    return httpx.Proxy(proxy.url, headers={"Authorization": f"Basic {encoded}"})


def is_socks(proxy: httpx.URL) -> bool:
    """Whether a proxy speaks SOCKS."""
    return proxy.scheme in ("socks5", "socks5h")


def check_socks(proxy: httpx.Proxy, registry: str) -> None:
    """Raise ``InvalidResponse`` for a SOCKS proxy that nothing installed here can speak to."""
    if is_socks(proxy.url) and importlib.util.find_spec("aiohttp_socks") is None:
        reason = f"its proxy {proxy.url.scheme}://{proxy.url.netloc.decode()} speaks SOCKS, which needs another library"
        raise InvalidResponse(f"reach {registry}", reason, advice="pip install 'imageferry[socks]'")
