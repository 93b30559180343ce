"""What a Prefect server has recorded, asked over its API."""

import time
from dataclasses import dataclass
from typing import Any

import httpx

TERMINAL = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]


@dataclass(frozen=True)
class PrefectApi:
    """A server's API at `url`."""

    url: str

    def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a request, again while a busy SQLite makes the server answer 503; return the answer, whatever it is."""
        for _ in range(20):
            answer = httpx.request(method, f"{self.url}/{path}", json=body, timeout=30)
            if answer.status_code != 503:
                break
            time.sleep(0.5)
        return answer

    def flow_run(self, identity: str) -> dict[str, Any]:
        """Return a flow run."""
        found: dict[str, Any] = self.send("GET", f"flow_runs/{identity}").raise_for_status().json()
        return found

    def subflows(self, identity: str) -> list[dict[str, Any]]:
        """Return the flow runs that a flow run has started."""
        return self._filter("flow_runs", {"flow_runs": {"parent_flow_run_id": {"any_": [identity]}}})

    def task_runs(self, identity: str, *, placeholders: bool = False) -> list[dict[str, Any]]:
        """Return the task runs of a flow run and its subflows, with Prefect's placeholders where asked for."""
        ids = [identity, *(run["id"] for run in self.subflows(identity))]
        found: list[dict[str, Any]] = []
        while True:
            page = self._filter("task_runs", {"flow_runs": {"id": {"any_": ids}}, "offset": len(found)})
            if not page:
                return [run for run in found if placeholders or not run["name"].startswith("sync-rule-")]
            found += page

    def artifact_count(self, *identities: str) -> int:
        """Return how many artifacts these flow runs have: a run of many seconds has its progress too."""
        body = {"artifacts": {"flow_run_id": {"any_": list(identities)}}}
        return int(self.send("POST", "artifacts/count", body).raise_for_status().json())

    def artifacts(self, identity: str) -> dict[str, dict[str, Any]]:
        """Return the artifacts of a flow run by key."""
        found = self._filter("artifacts", {"artifacts": {"flow_run_id": {"any_": [identity]}}})
        return {artifact["key"]: artifact for artifact in found}

    def logs(self, identity: str) -> list[str]:
        """Return the lines that a flow run has logged."""
        found = self._filter("logs", {"logs": {"flow_run_id": {"any_": [identity]}}})
        return [line["message"] for line in found]

    def deployment(self, name: str) -> dict[str, Any]:
        """Return a deployment by its name, such as `sync/ad-hoc`."""
        found: dict[str, Any] = self.send("GET", f"deployments/name/{name}").raise_for_status().json()
        return found

    def delete_deployment(self, name: str) -> None:
        """Delete a deployment."""
        self.send("DELETE", f"deployments/{self.deployment(name)['id']}").raise_for_status()

    def start(self, deployment: str, **parameters: Any) -> httpx.Response:
        """Ask for a run of a deployment, as the UI's form does; return the answer."""
        identity = self.deployment(deployment)["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self._post(f"deployments/{identity}/create_flow_run", body)

    def ended(self, identity: str, seconds: float = 120) -> dict[str, Any]:
        """Wait for a flow run's end and return it."""
        begun = time.monotonic()
        while (run := self.flow_run(identity))["state_type"] not in TERMINAL:
            assert time.monotonic() - begun < seconds, f"it is still {run['state_name']}: {self.logs(identity)}"
            time.sleep(0.2)
        return run

    def save_block(self, kind: str, name: str, data: dict[str, Any]) -> None:
        """Save a block as the UI does, which asks the server alone whether it may."""
        of = self.send("GET", f"block_types/slug/{kind}").raise_for_status().json()["id"]
        (schema, *_) = self._filter("block_schemas", {"block_schemas": {"block_type_id": {"any_": [of]}}})
        body = {"name": name, "data": data, "block_type_id": of, "block_schema_id": schema["id"]}
        self._post("block_documents/", body).raise_for_status()

    def save_variable(self, name: str, value: Any) -> None:
        """Save a variable as the UI does."""
        self._post("variables/", {"name": name, "value": value}).raise_for_status()

    def make_pool(self, name: str, like: str) -> None:
        """Make a work pool that is as another one."""
        pool = self.send("GET", f"work_pools/{like}").raise_for_status().json()
        body = {"name": name, "type": pool["type"], "base_job_template": pool["base_job_template"]}
        self._post("work_pools/", body).raise_for_status()

    def move_deployment(self, name: str, pool: str) -> None:
        """Have a deployment's runs go to the workers of another pool."""
        path = f"deployments/{self.deployment(name)['id']}"
        self.send("PATCH", path, {"work_pool_name": pool}).raise_for_status()

    def runs_of(self, pool: str, *states: str) -> list[dict[str, Any]]:
        """Return the flow runs of a work pool that are in one of the states."""
        filters = {"flow_runs": {"state": {"type": {"any_": list(states)}}}, "work_pools": {"name": {"any_": [pool]}}}
        return self._filter("flow_runs", filters)

    def save_limit(self, name: str, limit: int) -> None:
        """Make a global concurrency limit."""
        self._post("v2/concurrency_limits/", {"name": name, "limit": limit}).raise_for_status()

    def change_limit(self, name: str, limit: int) -> None:
        """Change a global concurrency limit, as the UI does."""
        self.send("PATCH", f"v2/concurrency_limits/{name}", {"limit": limit}).raise_for_status()

    def slots_taken(self, name: str) -> int:
        """Return how many slots of a global concurrency limit are taken."""
        answer = self.send("GET", f"v2/concurrency_limits/{name}").raise_for_status()
        return int(answer.json()["active_slots"])

    def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self.send("POST", path, body)

    def _filter(self, what: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self._post(f"{what}/filter", body).raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found
