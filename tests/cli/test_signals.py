"""The signals that end a run, with a clock of the test's own; in a process they are tried in `test_no_history`."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from cli.signals import SIGNALS, SignalStop


class Clock:
    """A clock that stands still between two steps."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_two_signals_of_one_kind_within_a_second_are_one() -> None:
    clock, ended = Clock(), list[int]()
    stop = SignalStop(clock, ended.append)
    with stop.on_signals():
        for seconds in (0.0, 0.0, 0.9):
            clock.now = 100.0 + seconds
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested
        assert ended == []
        clock.now = 101.0
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended == [130]


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_of_another_kind_ends_at_once(first: signal.Signals, second: signal.Signals) -> None:
    ended = list[int]()
    stop = SignalStop(Clock(), ended.append)
    with stop.on_signals():
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), second)
    assert ended == ([] if first == second else [130])


async def test_each_signal_stops_the_run() -> None:
    for number in SIGNALS:
        stop = SignalStop(Clock(), list[int]().append)
        event = stop.event()
        with stop.on_signals():
            os.kill(os.getpid(), number)
            await asyncio.wait_for(event.wait(), 5)


def test_a_hangup_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = SignalStop(Clock(), list[int]().append)
        with stop.on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
