"""The wheel: installed by itself, in a folder whose modules have the names of Imageferry's own and of libraries."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import prefect
import pytest

from hatch_build import PROJECT
from imageferry import __version__
from testkit.command_line import LIMIT, ROOT, Finished, insecure
from testkit.killing import wait_until
from testkit.prefect.server import PrefectServer, running_server
from testkit.processes import end, free_port
from testkit.registries.inprocess import FakeRegistry
from tests.prefect_fixtures import copy_database

# One process builds the wheel and has the server with what is deployed from it.
pytestmark = pytest.mark.xdist_group("wheel")

_NOT_OURS = "raise ImportError('this module is the user\\'s, and Imageferry must not import it')\n"

# What the user has where Imageferry is run.
_USERS_MODULES = {
    "flows/__init__.py": "",
    "flows/etl.py": "ANSWER = 42\n",
    **dict.fromkeys(
        ("flows/sync.py", "tasks.py", "cli.py", "deployments/__init__.py", "orchestration/__init__.py"), _NOT_OURS
    ),
    **dict.fromkeys(("uvicorn.py", "json.py", "prefect.py", "httpx.py"), _NOT_OURS),
}


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and what it depends on, and a folder of the user's to run it in."""

    programs: Path
    folder: Path
    home: Path
    more: dict[str, str] = field(default_factory=dict)

    def start(self, program: str, *words: str) -> "subprocess.Popen[str]":
        """Start a program of the environment in the folder."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PYTHON"))}
        given = {"PREFECT_HOME": str(self.home), "DOCKER_CONFIG": str(self.home), "COLUMNS": "200", "NO_COLOR": "1"}
        return subprocess.Popen(
            [self.programs / program, *words],
            cwd=self.folder,
            env=kept | given | self.more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, *words: str) -> Finished:
        """Run a program to its end."""
        process = self.start(program, *words)
        try:
            out, err = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        return Finished(process.returncode, out, err)

    def at(self, server: PrefectServer) -> "Installed":
        """Return the same with a server's address."""
        return Installed(self.programs, self.folder, self.home, {"PREFECT_API_URL": server.api.url})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with what is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    built = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment: the wheel, and what it depends on from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    words = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    # Only then, lest pip takes what is installed there for this one. A .pth file within it, which would name the
    # checkout, is not read.
    (packages / "dependencies.pth").write_text(str(Path(prefect.__file__).parents[1]))
    return python.parent


@pytest.fixture
def installed(programs: Path, tmp_path: Path, ready_home: Path) -> Installed:
    """The wheel, in a folder with modules of the user's."""
    folder = tmp_path / "user"
    for name, text in _USERS_MODULES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return Installed(programs, folder, ready_home)


@pytest.fixture(scope="module")
def server(
    prefect_home: Path, prefect_server: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrefectServer]:
    """A Prefect server on which only the wheel deploys: the session's has the deployments of the checkout."""
    home = tmp_path_factory.mktemp("server")
    copy_database(prefect_home, home)
    with running_server(home) as server:
        yield server


def configure(installed: Installed, source: FakeRegistry, destination: FakeRegistry, name: str = "config.json") -> Path:
    """Write a configuration that copies one image, and put the image there."""
    source.image("demo/app", "v1", [b"layer"])
    images = {f"{source.host}/demo/app": f"{destination.host}/mirror/app"}
    path = installed.folder / name
    path.write_text(json.dumps({"auth": insecure(source.host, destination.host), "images": images}))
    return path


def test_the_wheel_has_one_name_and_the_project_as_it_stands_inside_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {Path(name) for name in archive.namelist()}
    assert {path.parts[0] for path in files} == {"imageferry", f"imageferry-{__version__}.dist-info"}
    inside = Path("imageferry", "project")
    carried = {path.relative_to(inside) for path in files if path.is_relative_to(inside)}
    checkout = {
        path.relative_to(ROOT)
        for name in PROJECT
        for path in [ROOT / name, *(ROOT / name).rglob("*")]
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert carried == checkout


def test_no_package_of_the_user_is_hidden(installed: Installed, tmp_path: Path) -> None:
    found = installed.run("python", "-c", "import flows.etl; print(flows.etl.ANSWER)")
    assert (found.status, found.out) == (0, "42\n"), found.both
    elsewhere = Installed(installed.programs, tmp_path, installed.home)
    names = [name for name in PROJECT if "." not in name]
    search = (
        f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)], u.find_spec('imageferry').origin)"
    )
    found = elsewhere.run("python", "-c", search)
    assert found.out.startswith("[] "), found.both
    assert not found.out.split()[1].startswith(str(ROOT))


@pytest.mark.parametrize(
    "words", [["imageferry"], ["python", "-m", "imageferry"], ["python", "-P", "-m", "imageferry"]]
)
def test_both_ways_to_start_it_know_the_version(installed: Installed, words: list[str]) -> None:
    shown = installed.run(*words, "--version")
    assert (shown.status, shown.out) == (0, f"imageferry {__version__}\n"), shown.both


def test_sync_copies_with_a_server_of_its_own(
    installed: Installed, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    configure(installed, fake_source, fake_destination)
    finished = installed.run("imageferry", "sync", "--report", "report.json")
    assert finished.status == 0, finished.both
    assert "completed: 1 copied" in finished.out
    assert fake_destination.tags("mirror/app") == ["v1"]
    report = json.loads((installed.folder / "report.json").read_text())
    assert report["flow_run_id"], finished.both
    # Flags alone mean the same.
    again = installed.run("python", "-m", "imageferry", "--quiet", "--no-history")
    assert "1 up to date" in again.out, again.both


@contextmanager
def working(installed: Installed) -> Iterator[None]:
    """Have a worker run what is due."""
    process = installed.start("imageferry", "worker", "--limit", "2")
    try:
        yield
    finally:
        end(process, 30)
        process.communicate()


def test_a_worker_runs_what_was_deployed_with_the_configuration_that_was_found(
    installed: Installed, server: PrefectServer, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    path = configure(installed, fake_source, fake_destination, "config.yaml")
    here = installed.at(server)
    deployed = here.run("imageferry", "deploy")
    assert deployed.status == 0, deployed.both
    for name in ("sync/scheduled", "sync/ad-hoc", "sync-rule/worker"):
        deployment = server.api.deployment(name)
        assert deployment["parameters"]["config"] == str(path)
        (step,) = deployment["pull_steps"]
        folder = Path(step["imageferry.project_folder.enter_project"]["directory"])
        assert folder.parts[-2:] == ("imageferry", "project")
        assert folder.is_relative_to(installed.programs.parent)
    with working(here):
        run = server.api.ended(server.api.start("sync/ad-hoc").json()["id"])
    assert run["state"]["message"].startswith("1 copied"), server.api.logs(run["id"])
    assert fake_destination.tags("mirror/app") == ["v1"]


def test_deploy_takes_a_configuration_by_name_and_its_limits(
    installed: Installed, server: PrefectServer, tmp_path: Path
) -> None:
    path = tmp_path / "elsewhere.yaml"
    path.write_text("registries: {quay.io: {requests: 4}}\nimages: {quay.io/a/b: r.example/b}\n")
    deployed = installed.at(server).run("imageferry", "deploy", "--config", "../elsewhere.yaml")
    assert deployed.status == 0, deployed.both
    assert "concurrency limit imageferry:quay.io: made, 4 at once" in deployed.out
    parameter = server.api.deployment("sync/ad-hoc")["parameters"]["config"]
    assert Path(parameter).resolve() == path
    assert Path(parameter).is_absolute()


def test_deploy_without_a_configuration_leaves_the_name_of_one(installed: Installed, server: PrefectServer) -> None:
    deployed = installed.at(server).run("imageferry", "deploy")
    assert deployed.status == 0, deployed.both
    assert server.api.deployment("sync/ad-hoc")["parameters"]["config"] == "config.json"


@pytest.mark.parametrize("words", [["--config", "missing.json"], []])
def test_a_bad_configuration_is_reported_before_anything_is_deployed(installed: Installed, words: list[str]) -> None:
    (installed.folder / "config.json").write_text('{"images":\n{"a.io/B": "c.io/d"}}')
    finished = installed.run("imageferry", "deploy", *words)
    assert (finished.status, finished.out) == (2, "")
    assert finished.err.startswith("imageferry: ")
    assert ("missing.json: does not exist" if words else "config.json:2: images.a.io/B") in finished.err


def test_a_server_that_cannot_be_reached_is_reported(installed: Installed) -> None:
    installed.more["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"
    finished = installed.run("imageferry", "deploy")
    assert finished.status == 1
    assert finished.err.startswith(f"imageferry: the Prefect server at {installed.more['PREFECT_API_URL']} cannot be")
    assert "Traceback" not in finished.both


def test_server_starts_one_in_the_background(installed: Installed) -> None:
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", installed.home / f"imageferry-server-{port}.log"
    # One that is gone has left it.
    (installed.home / "server.pid").write_text("999999999")
    try:
        started = installed.run("imageferry", "server", "--port", str(port))
        assert started.status == 0, started.both
        assert f"Prefect's server and its UI: http://127.0.0.1:{port}\n" in started.out
        assert f"its log: {log}\n" in started.out
        again = installed.run("imageferry", "server", "--port", str(port))
        assert again.out == f"there already: http://127.0.0.1:{port}\n", again.both
        # What it prints goes to its log, whoever has started it is gone.
        process = Path("/proc", (installed.home / "server.pid").read_text(), "fd")
        assert [(process / number).readlink() for number in "012"] == [Path("/dev/null"), log, log]
        file = installed.home / f"imageferry-server-{port}.auth"
        assert str(file) in started.out
        assert file.read_text().strip() not in started.both
        user, _, secret = file.read_text().strip().partition(":")
        assert httpx.post(f"{url}/api/flows/count").status_code == 401
        read = httpx.post(f"{url}/api/flows/count", auth=(user, secret), headers={"Origin": "http://evil.example"})
        assert (read.status_code, read.headers.get("access-control-allow-origin")) == (200, None)
        own = httpx.get(f"{url}/api/health", headers={"Origin": url})
        assert own.headers["access-control-allow-origin"] == url
    finally:
        installed.run("python", "-P", "-m", "prefect", "server", "stop")
    wait_until(lambda: not (installed.home / "server.pid").exists(), "the end of the server")


@pytest.mark.parametrize("command", ["deploy", "server", "worker"])
def test_the_help_of_the_commands_needs_no_prefect(installed: Installed, tmp_path: Path, command: str) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "prefect.py").write_text(_NOT_OURS)
    installed.more["PYTHONPATH"] = str(broken)
    shown = installed.run("imageferry", command, "--help")
    assert (shown.status, shown.err) == (0, "")
    assert f"Usage: imageferry {command}" in shown.out
