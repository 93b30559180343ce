"""When Prefect tries a task again."""

from __future__ import annotations

import functools
from collections.abc import Coroutine
from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from imageferry.errors import ImageferryError

AsyncTask = Task[..., Coroutine[Any, Any, Any]]

#: Seconds before each further attempt; the last one holds for all that follow.
DELAYS = [2.0, 10.0, 30.0]


def may_heal(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether another attempt may succeed: not for a refusal, a missing image or a bad digest (or a fault of ours)."""
    return isinstance(state.data, ImageferryError) and state.data.transient


@functools.cache
def with_retries(task: AsyncTask, retries: int) -> AsyncTask:
    """Give the task with so many more attempts; made once, since making one costs as much as running it."""
    return task.with_options(retries=retries)
