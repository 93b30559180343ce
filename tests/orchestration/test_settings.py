"""What the environment sets of a run in Prefect."""

from collections.abc import Iterator

import pytest

from orchestration.settings import Settings, SettingsError, settings
from testkit.command_line import CommandLine


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_what_is_set_counts_and_what_is_empty_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFERRY_BLOB_TASK_SIZE", "0")
    monkeypatch.setenv("IMAGEFERRY_RERUNS", " ")
    assert settings() == Settings(blob_task_size=0)


def test_all_that_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFERRY_BLOB_TASK_SIZE", "8MiB")
    monkeypatch.setenv("IMAGEFERRY_SILENCE_LIMIT", "0")
    with pytest.raises(SettingsError) as caught:
        settings()
    assert str(caught.value).splitlines() == [
        "IMAGEFERRY_BLOB_TASK_SIZE is '8MiB': expected a valid integer",
        "IMAGEFERRY_SILENCE_LIMIT is '0': expected greater than or equal to 1",
    ]


def test_the_command_line_tells_it_beside_its_other_faults(command: CommandLine) -> None:
    command.more["IMAGEFERRY_RERUNS"] = "often"
    finished = command.run("--config", "missing.json")
    assert finished.status == 2
    assert finished.err.splitlines() == [
        "imageferry: IMAGEFERRY_RERUNS is 'often': expected a valid integer",
        "imageferry: missing.json: does not exist: expected a JSON or YAML file",
    ]
