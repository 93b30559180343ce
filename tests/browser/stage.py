"""What a person looks at: a Prefect server with its UI, and two registries under names that only a proxy knows."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from testkit.prefect.programs import Programs
from testkit.prefect.server import running_server
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.proxy import running

SOURCE, DESTINATION = "quay.example", "registry.example"

# The image that fails: its rule names a tag that is not there.
MISSING = f"{SOURCE}/team/web:v2.1"

# What a registry may answer to that: pictures at a host of its own, links, and text that is read backwards.
HOSTILE_HOST = "tracker.example"
HOSTILE = (
    f"![x](http://{HOSTILE_HOST}/a.png) [run](javascript:alert(1)) <img src=http://{HOSTILE_HOST}/b.png> "
    f"<a href=http://{HOSTILE_HOST}>a</a> https://{HOSTILE_HOST}/p me@{HOSTILE_HOST} `x` | y\n\n# head\n- \u202eitem"
)


@dataclass(frozen=True)
class Stage:
    """The configuration's path, and the registries."""

    config: str
    source: FakeRegistry
    destination: FakeRegistry

    def slander(self) -> None:
        """Have the source answer what must not become markup on a page."""
        refusal = actions.refuse(404, "MANIFEST_UNKNOWN", HOSTILE)
        self.source.rules.append(Fault(Match("manifest-get", path="team/web/manifests/v2.1"), refusal))

    def release(self) -> None:
        """Put three tags into the source that the destination lacks."""
        for tag in ("v1.0", "v1.1", "v1.2"):
            self.source.image("team/api", tag, [_layer(f"api {tag}", 1_500_000), _layer("base", 700_000)])


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Run the registries and the proxy; of three rules one has nothing yet, one an image that fails."""
    with FakeRegistry() as source, FakeRegistry() as destination:
        source.image("team/web", "v2.0", [_layer("web", 900_000), _layer("base", 700_000)])
        for registry in (source, destination):
            for number in range(12):
                registry.image("team/tools", f"2026.{number}", [f"tools {number}".encode()])
        with _proxy({SOURCE: source.host, DESTINATION: destination.host}) as proxy:
            access = {"insecure": True, "proxy": proxy}
            images = {
                f"{SOURCE}/team/api": f"{DESTINATION}/mirror/api",
                f"{SOURCE}/team/web:v2.0,v2.1": f"{DESTINATION}/mirror/web",
                f"{SOURCE}/team/tools": f"{DESTINATION}/team/tools",
            }
            config = folder / "config.yaml"
            auth = {SOURCE: access, DESTINATION: access}
            config.write_text(yaml.safe_dump({"auth": auth, "images": images}, sort_keys=False))
            yield Stage(str(config), source, destination)


@contextmanager
def served(home: Path) -> Iterator[str]:
    """Run a server with its UI, put the deployments on it, run a worker for them, and return the UI's address."""
    # Without an address of its own the UI asks port 4200.
    profile = {"PREFECT_UI_API_URL": "/api", "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false"}
    settings = "\n".join(f'{name} = "{value}"' for name, value in profile.items())
    (home / "profiles.toml").write_text(f'active = "ui"\n\n[profiles.ui]\n{settings}\n')
    with running_server(home) as server:
        programs = Programs(home / "programs", server.api.url)
        programs.home.mkdir()
        programs.deploy()
        with programs.running("prefect", "worker", "start", "--pool", "imageferry", until="started!"):
            yield server.api.url.removesuffix("/api")


def _layer(seed: str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


@contextmanager
def _proxy(routes: dict[str, str]) -> Iterator[str]:
    """Run the proxy in a loop of its own, and return its address."""
    ready: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        async with running(routes) as proxy:
            ready.set_result((proxy.url, asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    url, loop, over = ready.result(10)
    try:
        yield url
    finally:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(over.set)
        thread.join(10)
