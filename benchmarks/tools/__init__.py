"""What is measured: Imageferry in three ways, its peers, and the limits of the machine."""

from __future__ import annotations

from benchmarks.tools.crane import Crane
from benchmarks.tools.image_syncer import ImageSyncer
from benchmarks.tools.imageferry import Ephemeral, PrefectSide, WithoutHistory, WithServer
from benchmarks.tools.limits import CurlPipe, Floor
from benchmarks.tools.regsync import Regsync, RegsyncDefaults
from benchmarks.tools.skopeo import Skopeo
from benchmarks.tools.tool import Tool


def all_tools(prefect: PrefectSide) -> list[Tool]:
    """Return every tool, here or not, in the order in which they run and are shown."""
    return [
        Ephemeral(prefect),
        WithServer(prefect),
        WithoutHistory(),
        ImageSyncer(),
        Regsync(),
        RegsyncDefaults(),
        Skopeo(),
        Crane(),
        CurlPipe(),
        Floor(),
    ]


def chosen(tools: list[Tool], names: list[str]) -> list[Tool]:
    """Return the tools of these names; a first word means all that begin with it. Raises ``ValueError``."""
    for name in names:
        if not any(_matches(tool, name) for tool in tools):
            raise ValueError(f"there is no tool {name!r}: expected {', '.join(tool.name for tool in tools)}")
    return [tool for tool in tools if not names or any(_matches(tool, name) for name in names)]


def _matches(tool: Tool, name: str) -> bool:
    return tool.name == name or tool.name.partition(" ")[0] == name
