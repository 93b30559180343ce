"""What all tests of copies have in common."""

from tests.registries.pauses import _no_proxies, pauses, waited

__all__ = ["_no_proxies", "pauses", "waited"]
