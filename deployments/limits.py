"""How many rules may be at a registry at once, over all workers: `python -m deployments.limits`.

It makes a Prefect global concurrency limit for each registry that is named under `registries` in the configuration, and
leaves alone those that exist.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cli.exit_codes import DONE, USAGE
from deployments.server import run_on_server
from imageferry.config import ConfigurationError
from imageferry.errors import InvalidReference
from imageferry.reference import check_registry
from orchestration.deployments.configuration import find_configuration, registries_in
from orchestration.deployments.limits import RULES, make_limits

app = App(
    name="python -m deployments.limits",
    help="Bound how many rules are at a registry at once, over all workers.",
)


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
        named = registries_in(find_configuration(config, Path.cwd()))
        registries = sorted({*named, *(check_registry(each) for each in registry or ())})
    except (ConfigurationError, InvalidReference) as error:
        print(error, file=sys.stderr)
        return USAGE
    if not registries:
        print("no limits: there is no configuration here that names a registry under `registries`")
        return DONE
    return run_on_server(make_limits(registries, rules))


if __name__ == "__main__":
    raise SystemExit(app())
