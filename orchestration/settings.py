"""What the environment sets of a run in Prefect, beside Prefect's own settings."""

from __future__ import annotations

import functools
import os

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imageferry.errors import ImageferryError

_PREFIX = "IMAGEFERRY_"


class SettingsError(ImageferryError):
    """A variable of the environment is not what is expected. A line each."""


class Settings(BaseModel):
    """Each is a variable of the environment: ``IMAGEFERRY_BLOB_TASK_SIZE`` and so on; an empty one says nothing."""

    # Not those of pydantic-settings: to import it takes longer than to check a configuration.
    model_config = ConfigDict(frozen=True)

    # From how many bytes on a blob has a task run of its own. Below, one costs more than a tenth of moving the blob.
    blob_task_size: int = Field(default=8 * 1024 * 1024, ge=0)

    # Seconds for which Prefect's server may answer nothing but errors, or write nothing, before it is given up.
    history_patience: float = Field(default=30.0, ge=1, le=3600)

    # How many images a run on a worker copies at most: Prefect takes parameters of 512 KiB, a tag may have 128 bytes.
    images_per_run: int = Field(default=500, ge=1, le=2000)

    # Seconds without a sign of life after which a run on a worker is taken for dead.
    silence_limit: int = Field(default=120, ge=1, le=86_400)

    # How often images are given to another run, whose own was lost.
    reruns: int = Field(default=2, ge=0, le=100)


@functools.cache
def settings() -> Settings:
    """Return the settings of this process. Raises ``SettingsError``."""
    given = {name: os.environ.get(_PREFIX + name.upper(), "").strip() for name in Settings.model_fields}
    try:
        return Settings.model_validate({name: text for name, text in given.items() if text})
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
    lines = [f"{_PREFIX}{str(each['loc'][0]).upper()} is {each['input']!r}: {_expected(each['msg'])}" for each in found]
    raise SettingsError("\n".join(lines))


def settings_problems() -> list[str]:
    """Say what is wrong with the settings, a line each."""
    try:
        settings()
    except SettingsError as error:
        return str(error).splitlines()
    return []


def _expected(message: str) -> str:
    """Turn "Input should be greater than or equal to 1" into words of ours."""
    return message.replace("Input should be", "expected", 1).partition(",")[0]
