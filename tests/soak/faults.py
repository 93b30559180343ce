"""What goes wrong at a registry, drawn from a seed: each kind, the requests it is for, and how often."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from random import Random

from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.exchange import Call, Cut, Ending, Hangup, Reply
from testkit.registries.fault_rules import Action, Fault, Match, Proceed

READS = ("manifest-get", "blob-get", "tags")
LOOKS = ("manifest-head", "blob-head", "ping", *READS)
UPLOADS = ("upload-start", "mount", "upload-patch", "upload-put", "upload-status", "upload-cancel")
WRITES = (*UPLOADS, "manifest-put")
BODIES = ("upload-patch", "upload-put")

# Statuses that may be gone at the next try.
_PASSING = (408, 500, 502, 503, 504)

# Seconds: more than twice what the engine is made to wait for.
_LONGEST_SILENCE = 8.0

# How often each kind is drawn, and the requests it may be for, at a source and at a destination.
TROUBLES: dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]] = {
    "reset in an answer": (4, READS, ("manifest-get", "tags")),
    "answer cut short": (4, READS, ("manifest-get", "tags")),
    "head cut short": (2, LOOKS, (*LOOKS, *WRITES)),
    "silence in an answer": (1, ("blob-get", "manifest-get"), ("manifest-get",)),
    "silence": (1, LOOKS, (*LOOKS, *WRITES)),
    "delay": (4, (*LOOKS, "token"), (*LOOKS, *WRITES, "token")),
    "slow answer": (2, ("blob-get",), ("manifest-get",)),
    "too many requests": (4, (*LOOKS, "token"), (*LOOKS, *WRITES, "token")),
    "server error": (4, (*LOOKS, "token"), (*LOOKS, *WRITES, "token")),
    "hang-up": (3, (*LOOKS, "token"), (*LOOKS, *WRITES, "token")),
    "lost answer": (3, LOOKS, WRITES),
    "idle connection closed": (2, LOOKS, WRITES),
    "reset in an upload": (4, (), BODIES),
    "token expiry": (2, (*LOOKS,), (*LOOKS, *WRITES)),
    "encoded blob": (2, ("blob-get",), ()),
    "drip": (1, ("blob-get",), ()),
    "slow reading": (1, (), ("upload-patch",)),
    # Never drawn but to last.
    "broken objects": (0, ("blob-get", "manifest-get"), ("manifest-put",)),
}

# A fifth or so of all blobs and manifests.
_SOME_OBJECTS = r"/sha256:[0-2]"

# The kinds that may last for ever; the others heal by themselves or are no more than slow.
_LASTING = (
    "reset in an answer",
    "too many requests",
    "server error",
    "hang-up",
    "lost answer",
    "reset in an upload",
    "broken objects",
    "broken objects",
)


@dataclass(frozen=True)
class ScheduledFault:
    """One trouble: its kind, its requests, how often (None: for ever) and after how many of them.

    ``part`` (0 to 1) is where in a body it strikes, ``ending`` how a connection ends; ``choice`` is for what else
    there is to choose.
    """

    kind: str
    requests: tuple[str, ...]
    times: int | None
    skip: int
    part: float
    ending: Ending
    choice: int

    def fault(self, counts: "Counter[str]", auth: Bearer | None) -> Fault:
        """Make the rule for a host; each time that it strikes is added to ``counts``."""
        action = self._action(auth)

        async def counted(call: Call, proceed: Proceed) -> Reply:
            counts[self.kind] += 1
            return await action(call, proceed)

        path = _SOME_OBJECTS if self.kind == "broken objects" else None
        return Fault(Match(self.requests, path=path), counted, self.times, self.skip)

    def _action(self, auth: Bearer | None) -> Action:  # noqa: C901 - a case for each kind
        match self.kind:
            case "reset in an answer":
                return _cut(self.part, "reset")
            case "answer cut short":
                return _cut(self.part, "close")
            case "silence in an answer":
                return _cut(self.part, "stall")
            case "head cut short":
                return _cut_head(self.ending)
            case "silence":
                return _silence
            case "delay":
                return actions.delay(0.02 + self.part * 0.3)
            case "slow answer":
                return actions.slowly(1e6 + self.part * 8e6)
            case "too many requests":
                seconds = (None, 0, 1, 2)[self.choice % 4]
                return actions.too_many(seconds, as_date=self.choice % 8 > 4, status=(429, 503)[self.choice % 5 == 0])
            case "server error":
                return actions.respond(_PASSING[self.choice % len(_PASSING)], b"<html>sorry</html>")
            case "hang-up":
                return actions.hang_up(self.ending)
            case "lost answer":
                return actions.hang_up(self.ending, done=True)
            case "idle connection closed":
                return actions.then_close()
            case "reset in an upload":
                return _break_reading(self.part, self.ending)
            case "encoded blob":
                return actions.gzipped(chunked=self.choice % 2 > 0, relabelled=self.choice % 5 > 2)
            case "drip":
                return actions.slowly(2000 + self.part * 20_000)
            case "slow reading":
                return actions.read_slowly(lambda: self.part * 0.5)
            case "broken objects":
                return actions.respond((500, 503)[self.choice % 2], b"<html>sorry</html>")
            case "token expiry":
                return actions.run_first(auth.revoke_all if auth else _nothing)
        raise LookupError(self.kind)


def draw_faults(rng: Random, *, destination: bool, tokens: bool, most: int) -> list[ScheduledFault]:
    """Draw up to ``most`` troubles for one registry; each ends after a few times."""
    drawn = []
    for _ in range(rng.randint(0, most)):
        kind = rng.choices(list(TROUBLES), [weight for weight, *_ in TROUBLES.values()])[0]
        trouble = _draw(rng, kind, destination=destination)
        if trouble is not None and (tokens or kind != "token expiry"):
            drawn.append(trouble)
    return drawn


def draw_lasting_fault(rng: Random, *, destination: bool) -> ScheduledFault:
    """Draw a trouble that never ends, for one sort of request: what it makes impossible must be reported."""
    sorts = ("upload-start", *BODIES, "manifest-put") if destination else ("manifest-get", "blob-get")
    while True:
        drawn = _draw(rng, rng.choice(_LASTING), destination=destination)
        if drawn is not None and (fitting := [sort for sort in sorts if sort in _sorts(drawn.kind, destination)]):
            return ScheduledFault(
                drawn.kind, (rng.choice(fitting),), None, drawn.skip, drawn.part, drawn.ending, drawn.choice
            )


def _draw(rng: Random, kind: str, *, destination: bool) -> ScheduledFault | None:
    sorts = _sorts(kind, destination)
    if not sorts:
        return None
    requests = tuple(sorted(rng.sample(sorts, rng.randint(1, min(3, len(sorts))))))
    # A silence costs a time-out each.
    times = 1 if kind.startswith("silence") else rng.randint(1, 4)
    part = rng.choice([0.0, rng.random(), rng.random()])
    ending: Ending = rng.choice(["close", "reset"])
    return ScheduledFault(kind, requests, times, rng.randint(0, 12), part, ending, rng.randrange(40))


def _sorts(kind: str, destination: bool) -> tuple[str, ...]:
    _, at_source, at_destination = TROUBLES[kind]
    return at_destination if destination else at_source


def _cut(part: float, ending: Ending) -> Action:
    def cut(reply: Reply) -> None:
        reply.cut = Cut(int(len(reply.body) * part), ending)

    return actions.change(cut)


def _cut_head(ending: Ending) -> Action:
    async def act(call: Call, proceed: Proceed) -> Reply:
        call.transport.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        raise Hangup(ending)

    return act


async def _silence(call: Call, proceed: Proceed) -> Reply:
    """Say nothing until the client has gone; one that has a body to send is not seen to go."""
    until = time.monotonic() + _LONGEST_SILENCE
    while time.monotonic() < until and not call.transport.is_closing():
        await asyncio.sleep(0.02)
    raise Hangup("close")


def _break_reading(part: float, ending: Ending) -> Action:
    async def act(call: Call, proceed: Proceed) -> Reply:
        # Where its length is not said, somewhere in the first MiB.
        length = int(call.header("content-length") or 1024 * 1024)
        call.hang_up_after, call.hang_up_ending = int(length * part), ending
        return await proceed(call)

    return act


def _nothing() -> None:
    """Where there are no tokens, none can expire."""
