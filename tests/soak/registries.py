"""The registries of one scenario, running."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testkit.processes import MissingProgram
from testkit.registries.auth import Bearer
from testkit.registries.distribution import Distribution3, DistributionRegistry
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.server import Host
from tests.soak.faulty_proxy import FaultyProxy
from tests.soak.scenarios import DISTRIBUTION_2, DISTRIBUTION_3, IN_PROCESS, Site
from tests.soak.storage import MemoryStore, ServedStore, Store

USER, PASSWORD = "ferry", "not-a-secret"

# Seconds in which requests that a client has left come to their end.
_SETTLE_LIMIT = 20.0

# Seconds that a token lives at least.
_TOKENS_LIVE = 0.3


def kinds_here() -> tuple[str, ...]:
    """Return the kinds of registries whose programs are installed."""
    found = [IN_PROCESS]
    for kind, registry in ((DISTRIBUTION_2, DistributionRegistry), (DISTRIBUTION_3, Distribution3)):
        try:
            registry.binary()
        except MissingProgram:
            continue
        found.append(kind)
    return tuple(found)


@dataclass
class Expiring(Bearer):
    """Tokens that can be made to expire, but not before a client could use them: none expires as it is given out."""

    issued: dict[str, float] = field(default_factory=dict)

    def issue(self, access: dict[str, set[str]], user: str | None = None) -> str:
        """Issue a token, and keep the time."""
        text = super().issue(access, user)
        self.issued[text] = time.monotonic()
        return text

    def revoke_all(self) -> None:
        """Make the tokens worthless that have lived for a while."""
        for text, begun in list(self.issued.items()):
            if time.monotonic() - begun > _TOKENS_LIVE:
                self.tokens.pop(text, None)


@dataclass
class SoakRegistry:
    """A running registry: the host that the engine talks to, and its contents, which are looked at past it."""

    door: Host
    store: Store
    auth: Bearer | None
    struck: "Counter[str]" = field(default_factory=Counter)

    @property
    def host(self) -> str:
        """`address:port`, as in an image's reference."""
        return self.door.host

    @property
    def access(self) -> dict[str, Any]:
        """Its entry of a configuration's `auth`."""
        login = {"username": USER, "password": PASSWORD} if self.auth else {}
        return {"insecure": True, **login}

    def heal(self) -> None:
        """End all troubles."""
        self.door.rules.clear()

    def settle(self) -> None:
        """Wait until no request is under way: those of a client that was killed end by themselves."""
        until = time.monotonic() + _SETTLE_LIMIT
        while time.monotonic() < until and any(entry.ended is None for entry in self.door.log):
            time.sleep(0.02)

    def read(self) -> dict[str, int]:
        """The bytes of blobs that were sent, by digest."""
        sent: Counter[str] = Counter()
        for entry in self.door.log.entries("blob-get"):
            sent[entry.path.rpartition("/")[2]] += entry.bytes_out
        return dict(sent)


@contextmanager
def running(site: Site, folder: Path) -> Iterator[SoakRegistry]:
    """Run a registry as a scenario wants it, with its troubles; a real one keeps its files in ``folder``."""
    auth = Expiring({USER: PASSWORD}) if site.tokens else None
    with ExitStack() as stack:
        if site.kind == IN_PROCESS:
            fake = stack.enter_context(FakeRegistry(site.quirks, auth))
            registry = SoakRegistry(fake, MemoryStore(fake.storage), auth)
        else:
            kind = DistributionRegistry if site.kind == DISTRIBUTION_2 else Distribution3
            real = stack.enter_context(kind(folder))
            registry = SoakRegistry(stack.enter_context(FaultyProxy(real.host, auth)), ServedStore(real.host), auth)
        registry.door.rules.extend(trouble.fault(registry.struck, auth) for trouble in site.troubles)
        yield registry
