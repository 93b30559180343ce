"""All that runs on workers need, put on a Prefect server: work pool, block types, deployments, limits, automations."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from prefect.settings import get_current_settings

from imageferry.project_folder import project_folder
from orchestration.blocks.block_types import ImageferryConfiguration, RegistryCredentials
from orchestration.deployments.automations import make_automations
from orchestration.deployments.limits import make_limits
from orchestration.deployments.work_pool import make_work_pool
from orchestration.own_process import module_command, project_environment
from orchestration.server.client_call import call_server
from orchestration.server.own_server import ServerError

BLOCK_TYPES = (RegistryCredentials, ImageferryConfiguration)


def deploy(config: str | None, registries: list[str]) -> Iterator[str]:
    """Put all of it on the server, and yield what to print of each step.

    ``config`` replaces the parameter of that name in prefect.yaml; None leaves it. Of limits, those of ``registries``
    are made. Raises ``ServerError``.
    """
    yield call_server(make_work_pool())
    yield call_server(register_block_types())
    yield deploy_all(config)
    yield call_server(make_automations())
    if registries:
        yield call_server(make_limits(registries))
    else:
        yield "no limits: there is no configuration here that names a registry under `registries`"


async def register_block_types() -> str:
    """Make the forms of the blocks known to the server; return what to print of them."""
    for each in BLOCK_TYPES:
        await each.aregister_type_and_schema()
    return "\n".join(f"block type {each.get_block_type_slug()}: registered" for each in BLOCK_TYPES)


def deploy_all(config: str | None) -> str:
    """Do `prefect deploy --all` in the project's folder; return what it printed. Raises ``ServerError``."""
    project = project_folder()
    # All settings of this process: a prefect.toml in the current directory is not looked for there.
    settings = get_current_settings().to_environment_variables(exclude_unset=True, include_secrets=True)
    with tempfile.TemporaryDirectory(prefix="imageferry-") as folder:
        file = project / "prefect.yaml"
        if config is not None:
            file = _with_config(file, config, Path(folder))
        finished = subprocess.run(
            module_command("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)),
            cwd=project,
            env=project_environment(os.environ | settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if finished.returncode != 0:
        raise ServerError(f"prefect deploy failed:\n{finished.stdout.strip()}")
    return finished.stdout.strip()


def _with_config(file: Path, config: str, folder: Path) -> Path:
    """Write a copy of prefect.yaml into the folder in which the deployments have this ``config``."""
    document = yaml.safe_load(file.read_text())
    for deployment in document["deployments"]:
        deployment["parameters"]["config"] = config
    copy = folder / file.name
    copy.write_text(yaml.safe_dump(document, sort_keys=False))
    return copy
