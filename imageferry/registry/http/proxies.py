"""The proxies of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY), as httpx mounts."""

from __future__ import annotations

import ipaddress
import re
import urllib.request

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(:[0-9]{1,5})?")


def environment_proxies(host: str = "") -> dict[str, str | None]:
    """Return a proxy for each httpx URL pattern; None for the hosts that ``NO_PROXY`` excepts.

    ``host`` (with or without a port) is the one that a client is for: networks in ``NO_PROXY`` are compared with it.
    (An httpx client with a transport of its own does not read the environment.)
    """
    found = urllib.request.getproxies()
    excepted = [entry.strip() for entry in found.pop("no", "").split(",") if entry.strip()]
    if "*" in excepted:
        return {}
    proxies: dict[str, str | None] = {}
    for scheme in ("http", "https", "all"):
        if proxy := found.get(scheme):
            proxies[f"{scheme}://"] = proxy if "://" in proxy else f"http://{proxy}"
    if proxies:
        for entry in excepted:
            proxies.update(dict.fromkeys(_patterns(entry, host)))
    return proxies


def _patterns(entry: str, host: str) -> list[str]:
    """Return the httpx patterns of one ``NO_PROXY`` entry: a domain includes its subdomains, an address does not.

    What is neither name, address nor network is ignored, as by curl.
    """
    bare = entry.removeprefix(".")
    try:
        network = ipaddress.ip_network(bare.strip("[]"), strict=False)
    except ValueError:
        return [f"all://{bare}", f"all://*.{bare}"] if _NAME.fullmatch(bare) else []
    if "/" not in bare:
        return [_pattern(network.network_address)]
    try:
        address = ipaddress.ip_address(host if host.count(":") > 1 else host.partition(":")[0])
    except ValueError:
        return []
    return [_pattern(address)] if address in network else []


def _pattern(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return f"all://[{address}]" if address.version == 6 else f"all://{address}"
