"""What a wheel carries besides the engine: the Prefect project, as it stands in a checkout."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROJECT = ("cli", "flows", "tasks", "orchestration", "deployments", "prefect.yaml")


class ProjectHook(BuildHookInterface[Any]):
    """Puts the project into the wheel, under the one name that is installed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the project's folders. An editable install needs none: it has the checkout."""
        if version != "editable":
            build_data["force_include"] |= {name: f"imageferry/project/{name}" for name in PROJECT}
