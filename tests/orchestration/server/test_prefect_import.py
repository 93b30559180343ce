"""Settings that Prefect refuses, in words."""

import prefect.settings.models.api
import pytest
from pydantic import BaseModel

from orchestration.server.own_server import SetupError
from orchestration.server.prefect_import import prefect_settings_checked


def test_the_variable_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_REQUEST_TIMEOUT", "planted-19c")
    with pytest.raises(SetupError) as raised, prefect_settings_checked():
        prefect.settings.models.api.APISettings()
    wanted = "Prefect refuses a setting: PREFECT_API_REQUEST_TIMEOUT: Input should be a valid number"
    assert str(raised.value).startswith(wanted)
    assert "planted" not in str(raised.value)


def test_a_model_that_is_not_known_is_named() -> None:
    class Other(BaseModel):
        count: int

    wanted = "Prefect refuses a setting: Other: COUNT: Field required"
    with pytest.raises(SetupError, match=wanted), prefect_settings_checked():
        Other.model_validate({})
