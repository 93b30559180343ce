"""Rules of misbehaviour: which requests, how often, and what is done to them."""

import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from testkit.registries.exchange import Call, Reply

Proceed = Callable[[Call], Awaitable[Reply]]
Action = Callable[[Call, Proceed], Awaitable[Reply]]
"""What is done to a request. It may answer, wait, or `await proceed(call)` and change that answer."""


@dataclass(frozen=True)
class Match:
    """Which requests a rule is for: all that is given must hold. `path` is a regular expression, searched."""

    kind: str | tuple[str, ...] | None = None
    method: str | None = None
    path: str | None = None
    predicate: Callable[[Call], bool] | None = None

    def __call__(self, call: Call) -> bool:
        kinds = (self.kind,) if isinstance(self.kind, str) else self.kind
        return (
            (kinds is None or call.kind in kinds)
            and (self.method is None or call.method == self.method)
            and (self.path is None or re.search(self.path, call.path) is not None)
            and (self.predicate is None or self.predicate(call))
        )


@dataclass
class Fault:
    """One rule: the action for the next `times` matching requests (None: all) after the first `skip`."""

    match: Match | str | None
    action: Action
    times: int | None = None
    skip: int = 0
    hits: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def takes(self, call: Call) -> bool:
        """Whether the rule holds for this request; counts it if so."""
        match = Match(kind=self.match) if isinstance(self.match, str) else self.match
        if match is not None and not match(call):
            return False
        with self._lock:
            if self.skip > 0:
                self.skip -= 1
                return False
            if self.times is not None and self.hits >= self.times:
                return False
            self.hits += 1
            return True


class FaultRules(list[Fault]):
    """The rules of one host. Those that match are nested, the first outermost."""

    async def apply(self, call: Call, answer: Proceed) -> Reply:
        """Answer a request with every rule that holds for it."""
        proceed = answer
        for fault in reversed([fault for fault in list(self) if fault.takes(call)]):
            proceed = _nested(fault.action, proceed)
        return await proceed(call)


def _nested(action: Action, proceed: Proceed) -> Proceed:
    async def run(call: Call) -> Reply:
        return await action(call, proceed)

    return run
