"""The real registry, docker/distribution, as a process of its own on a free port."""

import http.client
import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from testkit.processes import AbsentVersion, MissingProgram, end, free_port, program
from testkit.registries.certificates import Authority, Certificate
from testkit.registries.log import kind_of

_LINE = re.compile(
    r'^\S+ - \S+ \[[^\]]*\] "(?P<method>[A-Z]+) (?P<target>\S+) HTTP/[\d.]+" (?P<status>\d+) (?P<size>\d+|-) '
    r'"[^"]*" "(?P<agent>[^"]*)"$'
)
_PROBE = "imageferry-tests-probe"


@dataclass(frozen=True)
class Access:
    """One line of the registry's access log."""

    method: str
    path: str
    status: int
    user_agent: str
    query: dict[str, list[str]]
    bytes_out: int

    @property
    def kind(self) -> str:
        """The kind that the in-process registry gives such a request."""
        return kind_of(self.method, self.path, self.query)


class DistributionRegistry:
    """docker/distribution with its storage in a folder.

    With `username` and `password` it wants them. With `tls` it has a certificate of an authority made for it,
    whose file is `ca_file`; with `client_certificates` it wants one of its clients too, and `client` is one.
    `catalog_entries` is the most that a page of its catalog may be asked to have.
    """

    def __init__(
        self,
        folder: Path,
        username: str | None = None,
        password: str | None = None,
        *,
        tls: bool = False,
        client_certificates: bool = False,
        catalog_entries: int | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.username = username
        self.password = password
        self.tls = tls or client_certificates
        self.ca_file: Path | None = None
        self.client: Certificate | None = None
        self._client_certificates = client_certificates
        self._catalog_entries = catalog_entries
        self._server: Certificate | None = None
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._read_from = 0
        if self.tls:
            authority = Authority(folder / "certificates")
            self.ca_file, self._server = authority.ca_file, authority.server()
            self.client = authority.client() if client_certificates else None

    @property
    def host(self) -> str:
        """`address:port`, as in an image's reference."""
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The scheme and the host, without a slash at the end."""
        return f"{'https' if self.tls else 'http'}://{self.host}"

    @property
    def auth(self) -> tuple[str, str] | None:
        """Name and password, if it wants them."""
        return (self.username, self.password) if self.username and self.password else None

    @property
    def pid(self) -> int:
        """The process's number; 0 when it does not run."""
        return 0 if self._process is None else self._process.pid

    def client_context(self) -> ssl.SSLContext | None:
        """A context that trusts this registry, with the client's certificate if it wants one."""
        if self.ca_file is None:
            return None
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if self.client is not None:
            context.load_cert_chain(self.client.certificate, self.client.key)
        return context

    def requests(self) -> list[Access]:
        """What was asked since the start or the last `clear_log`, without this module's own probes."""
        self._settle()
        with self._access_log.open("rb") as file:
            file.seek(self._read_from)
            lines = file.read().decode("utf-8", "replace").splitlines()
        found = [_access(match) for line in lines if (match := _LINE.match(line))]
        return [access for access in found if access.user_agent != _PROBE]

    def counts(self) -> dict[str, int]:
        """How many requests came in, by kind."""
        return dict(Counter(access.kind for access in self.requests()))

    def count(self, *kinds: str) -> int:
        """How many requests of these kinds came in."""
        return sum(access.kind in kinds for access in self.requests())

    def add_repository(self, name: str) -> None:
        """Make a repository without a tag, in its storage: by these folders its catalog knows them."""
        place = self.folder / "storage/docker/registry/v2/repositories" / name
        for folder in ("_layers", "_manifests"):
            (place / folder).mkdir(parents=True)

    def clear_log(self) -> None:
        """Forget what was asked so far."""
        self._settle()
        self._read_from = self._access_log.stat().st_size

    def start(self) -> None:
        """Start it and wait until it answers. After a stop: on the same port."""
        ports = [self._port] if self._port else [free_port() for _ in range(5)]
        for port in ports:
            self._port = port
            if self._started():
                return
        raise RuntimeError(f"the registry did not start: {self._error_log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop it, in any case."""
        process, self._process = self._process, None
        if process is not None:
            end(process, 5)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _access_log(self) -> Path:
        return self.folder / "access.log"

    @property
    def _error_log(self) -> Path:
        return self.folder / "error.log"

    def _started(self) -> bool:
        """Start it on the port that is set; false where it ended at once: the port may be taken."""
        binary = self.binary()
        config = self.folder / "config.yml"
        config.write_text(json.dumps(self._config(), indent=2))
        # A registry whose tests were killed should not outlive them.
        guard = [path, "--pdeathsig", "TERM"] if (path := shutil.which("setpriv")) else []
        environment = {"PATH": os.environ.get("PATH", ""), "OTEL_TRACES_EXPORTER": "none"}
        with self._access_log.open("ab") as access_log, self._error_log.open("ab") as error_log:
            self._process = subprocess.Popen(
                [*guard, binary, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=access_log,
                stderr=error_log,
                env=environment,
                cwd=self.folder,
            )
        if self._answers():
            return True
        self.stop()
        return False

    @classmethod
    def binary(cls) -> str:
        """Find the program. Raises ``MissingProgram``."""
        return program("docker-registry", "registry", package="docker-registry")

    def _answers(self) -> bool:
        """Wait until a probe is in this process's own log: an answer alone may be another's."""
        size, until = self._access_log.stat().st_size, time.monotonic() + 15
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            self._probe()
            if self._access_log.stat().st_size > size:
                return True
            time.sleep(0.02)
        return False

    def _probe(self) -> None:
        context = self.client_context()
        connection = (
            http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
            if context is None
            else http.client.HTTPSConnection("127.0.0.1", self._port, timeout=2, context=context)
        )
        try:
            connection.request("GET", "/v2/", headers={"User-Agent": _PROBE})
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()

    def _settle(self) -> None:
        """Wait until a probe is in the log, and it grows no more: a line is written after the answer is sent."""
        before, until = self._access_log.stat().st_size, time.monotonic() + 2
        if self._process is not None:
            self._probe()
            while time.monotonic() < until and self._access_log.stat().st_size == before:
                time.sleep(0.01)
        size = -1
        while time.monotonic() < until and size != (now := self._access_log.stat().st_size):
            size = now
            time.sleep(0.05)

    def _config(self) -> dict[str, Any]:
        served: dict[str, Any] = {"addr": self.host, "secret": secrets.token_hex(16)}
        if self._server is not None:
            served["tls"] = {"certificate": str(self._server.certificate), "key": str(self._server.key)}
            if self._client_certificates:
                served["tls"]["clientcas"] = [str(self.ca_file)]
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "storage")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": served,
            "compatibility": {"schema1": {"enabled": True}},
            "validation": {"manifests": {"urls": {"allow": ["^https?://"]}}},
        }
        if self._catalog_entries is not None:
            config["catalog"] = {"maxentries": self._catalog_entries}
        if self.username is not None:
            config["auth"] = {"htpasswd": {"realm": "Imageferry tests", "path": str(self._password_file())}}
        return config

    def _password_file(self) -> Path:
        """Write the password file. The lowest cost of bcrypt: it is paid for with every request."""
        made = subprocess.run(
            [program("htpasswd", package="apache2-utils"), "-niB", "-C", "4", str(self.username)],
            input=f"{self.password}\n".encode(),
            capture_output=True,
            check=True,
        )
        path = self.folder / "htpasswd"
        path.write_bytes(made.stdout)
        return path


class Distribution3(DistributionRegistry):
    """distribution 3, which takes the same configuration."""

    @classmethod
    def binary(cls) -> str:
        """Find the program of this version. Raises ``MissingProgram``."""
        try:
            binary = program("registry", package="docker-registry")
        except MissingProgram:
            raise AbsentVersion("registry, distribution 3, is not on PATH") from None
        version = subprocess.run([binary, "--version"], capture_output=True, check=True, text=True).stdout
        if not re.search(r" v?3\.", version):
            raise AbsentVersion(f"registry is not distribution 3: {version.strip()}")
        return binary


def _access(match: re.Match[str]) -> Access:
    path, _, query = match["target"].partition("?")
    size = 0 if match["size"] == "-" else int(match["size"])
    asked = parse_qs(query, keep_blank_values=True)
    return Access(match["method"], path, int(match["status"]), match["agent"], asked, size)
