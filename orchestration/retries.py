"""When Prefect tries a task again: as the engine does by itself."""

from __future__ import annotations

import functools
from collections.abc import Coroutine
from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from imageferry.copy import retries as engine
from imageferry.copy.retries import DELAYS, JITTER

__all__ = ["DELAYS", "JITTER", "is_transient", "with_retries"]

AsyncTask = Task[..., Coroutine[Any, Any, Any]]


def is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether another attempt may succeed."""
    return engine.is_transient(state.data)


@functools.cache
def with_retries(task: AsyncTask, retries: int) -> AsyncTask:
    """Return the task with so many more attempts; made once, since making one costs as much as running it."""
    return task.with_options(retries=retries)
