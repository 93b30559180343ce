"""The proxies of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY), as httpx mounts."""

from __future__ import annotations

import ipaddress
import urllib.request


def environment_proxies() -> dict[str, str | None]:
    """Give a proxy for each httpx URL pattern; ``None`` for the hosts that ``NO_PROXY`` excepts.

    An httpx client with a transport of its own does not look for these itself.
    """
    found = urllib.request.getproxies()
    excepted = [host.strip() for host in found.pop("no", "").split(",") if host.strip()]
    if "*" in excepted:
        return {}
    proxies: dict[str, str | None] = {}
    for scheme in ("http", "https", "all"):
        if proxy := found.get(scheme):
            proxies[f"{scheme}://"] = proxy if "://" in proxy else f"http://{proxy}"
    if proxies:
        for host in excepted:
            proxies.update(dict.fromkeys(_patterns(host)))
    return proxies


def _patterns(host: str) -> list[str]:
    """Give the httpx patterns of one ``NO_PROXY`` entry: a domain takes its subdomains with it, an address does not."""
    bare = host.removeprefix(".")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return [f"all://{bare}", f"all://*.{bare}"]
    return [f"all://[{bare}]" if address.version == 6 else f"all://{bare}"]
