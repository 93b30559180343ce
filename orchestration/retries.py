"""When Prefect tries a task again: as the engine does by itself."""

from __future__ import annotations

import functools
from collections.abc import Coroutine
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from imageferry.copy import retries as engine
from imageferry.copy.retries import DELAYS, JITTER

# What every task is made with: its result is small and of this run alone.
TASK_OPTIONS: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}

AsyncTask = Task[..., Coroutine[Any, Any, Any]]


def is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether another attempt may succeed."""
    return engine.is_transient(state.data)


# What a task is made with that is tried again.
RETRY_OPTIONS: dict[str, Any] = TASK_OPTIONS | {
    "retry_delay_seconds": DELAYS,
    "retry_jitter_factor": JITTER,
    "retry_condition_fn": is_transient,
}


@functools.cache
def with_retries(task: AsyncTask, retries: int) -> AsyncTask:
    """Return the task with so many more attempts; made once, since making one costs as much as running it."""
    return task.with_options(retries=retries)
