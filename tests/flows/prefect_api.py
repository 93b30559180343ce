"""What a Prefect server has recorded, asked over its API."""

from dataclasses import dataclass
from typing import Any

import httpx

TERMINAL = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]


@dataclass(frozen=True)
class PrefectApi:
    """A server's API at `url`."""

    url: str

    def flow_run(self, identity: str) -> dict[str, Any]:
        """Give a flow run."""
        found: dict[str, Any] = httpx.get(f"{self.url}/flow_runs/{identity}").raise_for_status().json()
        return found

    def subflows(self, identity: str) -> list[dict[str, Any]]:
        """Give the flow runs that a flow run has started."""
        return self._filter("flow_runs", {"flow_runs": {"parent_flow_run_id": {"any_": [identity]}}})

    def task_runs(self, identity: str, placeholders: bool = False) -> list[dict[str, Any]]:
        """Give the task runs of a flow run and its subflows, with Prefect's placeholders where asked for."""
        ids = [identity, *(run["id"] for run in self.subflows(identity))]
        found: list[dict[str, Any]] = []
        while True:
            page = self._filter("task_runs", {"flow_runs": {"id": {"any_": ids}}, "offset": len(found)})
            if not page:
                return [run for run in found if placeholders or not run["name"].startswith("sync-rule-")]
            found += page

    def artifacts(self, identity: str) -> dict[str, dict[str, Any]]:
        """Give the artifacts of a flow run by key."""
        found = self._filter("artifacts", {"artifacts": {"flow_run_id": {"any_": [identity]}}})
        return {artifact["key"]: artifact for artifact in found}

    def logs(self, identity: str) -> list[str]:
        """Give the lines that a flow run has logged."""
        found = self._filter("logs", {"logs": {"flow_run_id": {"any_": [identity]}}})
        return [line["message"] for line in found]

    def _filter(self, what: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        answer = httpx.post(f"{self.url}/{what}/filter", json=body, timeout=30).raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found
