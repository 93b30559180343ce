"""The files of the deployments, written from their one definition: `python -m deployments.render`.

They are `prefect.yaml` for the work pool of processes, and its variants for docker and kubernetes pools.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from imageferry.project_folder import project_folder
from orchestration.deployments.definition import (
    DEPLOYMENTS,
    NIGHTLY,
    POOLS,
    RUN_ENVIRONMENT,
    SCHEDULED,
    SLUG,
    TIMEZONE,
    Deployment,
    Pool,
)

_WRITTEN = "Written by `python -m deployments.render` from orchestration/deployments/definition.py."

_HERE = """\
# A worker finds the flows and config.json in the folder in which one deploys; without such a folder it finds the flows
# in its own checkout or wheel.
build:
  - prefect.deployments.steps.run_shell_script:
      id: here
      script: pwd
"""


def render(pool: Pool) -> str:
    """Return the text of the pool's file, as `prefect deploy --prefect-file` reads it."""
    parts = [
        _comment(pool.heading + _WRITTEN) + "name: imageferry\n",
        _steps(pool),
        _definitions(pool),
        "deployments:\n" + "\n".join(_deployment(each, pool) for each in DEPLOYMENTS),
    ]
    return "\n".join(parts)


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in text.splitlines())


def _steps(pool: Pool) -> str:
    before = "# The code is in the image.\n" if pool.folder else _HERE
    folder = pool.folder or '"{{ here.stdout }}"'
    step = (
        "prefect.deployments.steps.set_working_directory" if pool.folder else "imageferry.project_folder.enter_project"
    )
    return f"{before}pull:\n  - {step}:\n      directory: {folder}\n"


def _definitions(pool: Pool) -> str:
    stored = "# A stored configuration: a run's container has no files of its own.\n" if pool.folder else ""
    environment = "# The engine's own log too, and no line for each task that went well.\n" + _mapping(RUN_ENVIRONMENT)
    job = _mapping(pool.job_variables) + "env:\n" + textwrap.indent(environment, "  ")
    work_pool = f"name: {pool.name}\njob_variables:\n" + textwrap.indent(job, "  ")
    parameters = stored + _mapping({"config": pool.config, **SCHEDULED.parameters})
    return (
        "definitions:\n"
        f"  work_pool: &work_pool\n{textwrap.indent(work_pool, ' ' * 4)}"
        f"  sync_parameters: &sync_parameters\n{textwrap.indent(parameters, ' ' * 4)}"
    )


def _deployment(deployment: Deployment, pool: Pool) -> str:
    lines = [
        f"name: {deployment.name}",
        f"entrypoint: {deployment.entrypoint}",
        f"description: {deployment.describe(pool.copied)}",
        "work_pool: *work_pool",
    ]
    if deployment.parameters is SCHEDULED.parameters:
        lines.append("parameters: *sync_parameters")
    else:
        lines += ["parameters:", *_indented(_mapping({"config": pool.config, **deployment.parameters}))]
    if deployment.is_scheduled:
        lines += ["schedules:", f"  - slug: {SLUG}", f'    cron: "{NIGHTLY}"', f"    timezone: {TIMEZONE}"]
        lines += ["concurrency_limit:", "  limit: 1", "  collision_strategy: CANCEL_NEW"]
    first, *rest = lines
    return "".join([f"  - {first}\n", *(f"    {line}\n" for line in rest)])


def _indented(text: str) -> Iterable[str]:
    return textwrap.indent(text, "  ").splitlines()


def _mapping(values: Mapping[str, object]) -> str:
    words = {None: "null", True: "true", False: "false"}
    return "".join(
        f"{name}: {words[value] if value is None or isinstance(value, bool) else value}\n"
        for name, value in values.items()
    )


def main() -> None:
    """Write the files into the project's folder."""
    for pool in POOLS:
        (project_folder() / pool.file).write_text(render(pool))
        print(pool.file)


if __name__ == "__main__":
    main()
