"""The three deployments, written once: `prefect.yaml`, its variants and `deployments.serve` all come from here.

`python -m deployments.render` writes the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WORK_POOL = "imageferry"

# The configuration of a run that names none, in the folder of the deployment.
CONFIG = "config.json"

# When sync/scheduled runs. The slug has a changed schedule take the place of the one that is on the server.
NIGHTLY, TIMEZONE, SLUG = "0 2 * * *", "UTC", "nightly"


@dataclass(frozen=True)
class Deployment:
    """A deployment, whatever runs it. ``parameters`` are those besides ``config``."""

    name: str
    entrypoint: str
    description: str
    parameters: Mapping[str, object]
    # Each night, one at a time: a run that is due while another is at work is cancelled.
    is_scheduled: bool = False

    def describe(self, copied: str) -> str:
        """Return the description; ``copied`` says what a run without parameters copies, and when."""
        return self.description.format(copied=copied)


_SYNC_PARAMETERS = {"only": None, "dry_run": False, "force": False, "platforms": None, "distribute": False}

SCHEDULED = Deployment(
    "scheduled",
    "flows/sync.py:sync",
    "Everything in {copied}. A run that is still at work lets the next one pass.",
    _SYNC_PARAMETERS,
    is_scheduled=True,
)
AD_HOC = Deployment("ad-hoc", "flows/sync.py:sync", "Now, with the parameters that are given.", _SYNC_PARAMETERS)
RULE_WORKER = Deployment(
    "worker",
    "flows/sync_rule.py:sync_rule",
    "One rule of a configuration, by itself.",
    {"force": False, "platforms": None, "images": None},
)
DEPLOYMENTS = (SCHEDULED, AD_HOC, RULE_WORKER)

# The environment of every run of a work pool.
RUN_ENVIRONMENT = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "imageferry",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING",
}


@dataclass(frozen=True)
class Pool:
    """A work pool, and what a deployment has besides where its runs are this pool's."""

    name: str
    # The file, from the top of the checkout, and the comment with which it begins.
    file: str
    heading: str
    # The folder with the project: that of the image, or None for the one in which one deploys.
    folder: str | None
    config: str
    copied: str
    job_variables: Mapping[str, object] = field(default_factory=dict)


_IN_IMAGE = "/opt/imageferry"

PROCESS_POOL = Pool(
    name=WORK_POOL,
    file="prefect.yaml",
    heading="""\
The deployments: `make deploy` makes the work pool and puts these on the Prefect server at PREFECT_API_URL.
A worker for them runs in this folder's environment: .venv/bin/prefect worker start --pool imageferry
""",
    folder=None,
    config=CONFIG,
    copied="config.json, each night",
)
DOCKER_POOL = Pool(
    name="imageferry-docker",
    file="deployments/prefect.docker.yaml",
    heading="""\
Each run in a container of its own, in place of prefect.yaml. The worker needs the package prefect-docker:
  docker build -f deployments/Dockerfile -t imageferry .
  prefect work-pool create imageferry-docker --type docker
  prefect --no-prompt deploy --all --prefect-file deployments/prefect.docker.yaml
  prefect worker start --pool imageferry-docker
""",
    folder=_IN_IMAGE,
    config="nightly",
    copied="the configuration, each night",
    job_variables={"image": "imageferry", "image_pull_policy": "Never", "auto_remove": True},
)
KUBERNETES_POOL = Pool(
    name="imageferry-kubernetes",
    file="deployments/prefect.kubernetes.yaml",
    heading="""\
Each run a job of Kubernetes, in place of prefect.yaml. The worker needs the package prefect-kubernetes:
  docker build -f deployments/Dockerfile -t registry.example/imageferry . && docker push registry.example/imageferry
  prefect work-pool create imageferry-kubernetes --type kubernetes
  prefect --no-prompt deploy --all --prefect-file deployments/prefect.kubernetes.yaml
  prefect worker start --pool imageferry-kubernetes
""",
    folder=_IN_IMAGE,
    config="nightly",
    copied="the configuration, each night",
    job_variables={
        "image": "registry.example/imageferry",
        "namespace": "imageferry",
        "image_pull_policy": "IfNotPresent",
        "finished_job_ttl": 86400,
    },
)
POOLS = (PROCESS_POOL, DOCKER_POOL, KUBERNETES_POOL)
