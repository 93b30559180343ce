"""What all tests of listings have in common."""

from testkit.registries.pauses import _no_proxies, pauses, waited

__all__ = ["_no_proxies", "pauses", "waited"]
