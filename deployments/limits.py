"""How many rules may be at a registry at once, over all workers: `python -m deployments.limits`.

It makes a Prefect global concurrency limit for each registry that is named under `registries` in the configuration, and
leaves alone what is there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.exceptions import ObjectNotFound

from cli.exit_codes import DONE, USAGE
from deployments.server import run_on_server
from imageferry.config import DEFAULT_FILE_NAMES, UNKNOWN_ENVIRONMENT, ConfigurationError, find_files, load
from imageferry.credentials.named import NamedCredentials
from imageferry.errors import InvalidReference
from imageferry.model import ANY_REGISTRY
from imageferry.reference import check_registry
from orchestration.workers.registry_slots import limit_name

#: As many rules as one run has at work at once.
RULES = 4

app = App(
    name="python -m deployments.limits",
    help="Bound how many rules are at a registry at once, over all workers.",
)


async def make_limits(registries: list[str], rules: int = RULES) -> str:
    """Make the limits that are missing; say which are there now."""
    told = []
    async with get_client() as client:
        for registry in registries:
            name = limit_name(registry)
            try:
                there = await client.read_global_concurrency_limit_by_name(name)
                told.append(f"concurrency limit {name}: there already, {there.limit} at once")
            except ObjectNotFound:
                await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=rules))
                told.append(f"concurrency limit {name}: made, {rules} at once")
    return "\n".join(told)


def registries_in(config: Path | None, folder: Path) -> list[str]:
    """Give the registries that the configuration names under `registries`; none without a configuration.

    Raises ``ConfigurationError`` for one that cannot be used.
    """
    if config is None and not any((folder / name).exists() for name in DEFAULT_FILE_NAMES):
        return []
    files = find_files(config, None, None, folder)
    # Values of the environment and credentials belong to the machine of a run.
    configuration = load(files, environment=UNKNOWN_ENVIRONMENT, credentials=NamedCredentials())
    return sorted(registry for registry in configuration.registries if registry != ANY_REGISTRY)


@app.default
def main(
    *,
    config: Annotated[
        Path | None, Parameter(help="The configuration; without it ./config.json, then .yaml, .yml, where there is one")
    ] = None,
    registry: Annotated[
        list[str] | None, Parameter(negative=(), help="One more registry, such as quay.io; repeatable")
    ] = None,
    rules: Annotated[int, Parameter(help="How many rules may be at each of them at once")] = RULES,
) -> int:
    """Make the limits that are missing."""
    if rules < 1:
        print(f"--rules {rules}: expected 1 or more", file=sys.stderr)
        return USAGE
    try:
        registries = sorted({*registries_in(config, Path.cwd()), *(check_registry(each) for each in registry or ())})
    except (ConfigurationError, InvalidReference) as error:
        print(error, file=sys.stderr)
        return USAGE
    if not registries:
        print("no limits: there is no configuration here that names a registry under `registries`")
        return DONE
    return run_on_server(make_limits(registries, rules))


if __name__ == "__main__":
    raise SystemExit(app())
