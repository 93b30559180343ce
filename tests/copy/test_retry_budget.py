"""How often something is begun again, and where a second reading begins."""

import asyncio
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageferry.copy import retry_budget
from imageferry.copy.reader import CHECKPOINT_SPACING, CHECKPOINTS, HashCheckpoints
from imageferry.copy.retry_budget import RetryBudget
from imageferry.registry import Descriptor


def test_breaks_without_progress_are_bounded() -> None:
    waiting = RetryBudget(3)
    assert [waiting.record_failure(0) for _ in range(3)] == [True, True, False]


def test_progress_counts_from_zero_again() -> None:
    waiting = RetryBudget(2, position=10)
    assert waiting.record_failure(11)
    assert waiting.record_failure(12)
    # Behind what was reached once is none.
    assert not waiting.record_failure(11)


async def test_only_what_made_no_progress_waits_and_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(retry_budget, "FIRST_PAUSE", 1.0)
    waiting = RetryBudget(5)
    for position in (5, 5, 5, 6):
        waiting.record_failure(position)
        await waiting.pause()
    first, second = slept
    assert 0.5 <= first <= 1.0 <= second <= 2.0


@settings(deadline=None)
@given(st.lists(st.integers(1, CHECKPOINT_SPACING), min_size=1, max_size=12), st.data())
def test_the_hash_is_known_at_most_a_buffer_before_any_byte(lengths: list[int], data: st.DataObject) -> None:
    size = sum(lengths)
    content = bytes(size)
    checkpoints = HashCheckpoints(Descriptor("", f"sha256:{'0' * 64}", size))
    position, state = checkpoints.restore(0)
    for length in lengths:
        state.update(content[position : position + length])
        position += length
        checkpoints.save(position, state)
    offset = data.draw(st.integers(0, size))
    begin, known = checkpoints.restore(offset)
    assert offset - CHECKPOINT_SPACING - max(lengths) < begin <= offset
    assert known.digest() == hashlib.sha256(content[:begin]).digest()
    # What lay behind is forgotten: it may be read otherwise.
    assert checkpoints.restore(size)[0] == begin


def test_the_states_of_a_huge_blob_are_bounded() -> None:
    size = 2**40
    checkpoints = HashCheckpoints(Descriptor("", f"sha256:{'0' * 64}", size))
    state = hashlib.sha256()
    for position in range(0, size, size // (2 * CHECKPOINTS)):
        checkpoints.save(position, state)
    assert len(checkpoints._positions) <= CHECKPOINTS + 1


def test_few_bytes_are_progress_for_a_minute_of_waiting_and_no_longer() -> None:
    waiting = RetryBudget(3)
    # A byte every ten seconds: the sixth is none.
    assert [waiting.record_failure(number, 10.0 * number) for number in range(1, 8)] == [True] * 6 + [False]
    assert waiting.is_slow


def test_each_minute_is_judged_alone() -> None:
    waiting = RetryBudget(2)
    # What came fast once is no credit for what comes slowly after it.
    assert waiting.record_failure(10**9, 60.0)
    assert waiting.record_failure(10**9 + 1, 119.0)
    assert not waiting.record_failure(10**9 + 2, 120.0)
    # A rate that is enough again is progress again.
    assert waiting.record_failure(10**9 + 10**6, 130.0)
    assert not waiting.is_slow
