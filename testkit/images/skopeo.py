"""skopeo, run so that nothing of the user's is read: another client, to push images and to judge copies."""

import os
import subprocess
import tempfile
from pathlib import Path

from testkit.images.push import Auth
from testkit.processes import program


def run_skopeo(*arguments: str) -> bytes:
    """Run skopeo with a home of its own, and return its standard output."""
    binary = program("skopeo", package="skopeo")
    with tempfile.TemporaryDirectory() as home:
        lookaside = Path(home) / "registries.d"
        lookaside.mkdir()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": home,
            "XDG_RUNTIME_DIR": home,
            "TMPDIR": home,
            "REGISTRY_AUTH_FILE": str(Path(home) / "auth.json"),
        }
        done = subprocess.run(
            [binary, "--insecure-policy", "--registries.d", str(lookaside), *arguments],
            env=environment,
            capture_output=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"skopeo {arguments[0]} failed: {done.stderr.decode('utf-8', 'replace')[-2000:]}")
    return done.stdout


def skopeo_copy(
    source: str,
    destination: str,
    *flags: str,
    source_auth: Auth | None = None,
    destination_auth: Auth | None = None,
) -> None:
    """Copy from one place to another, written as skopeo writes them (`docker://…`, `oci:…`, `dir:…`)."""
    options = list(flags)
    if source.startswith("docker:"):
        options += ["--src-tls-verify=false", *_credentials("--src-creds", source_auth)]
    if destination.startswith("docker:"):
        options += ["--dest-tls-verify=false", *_credentials("--dest-creds", destination_auth)]
    run_skopeo("copy", *options, source, destination)


def skopeo_raw(host: str, repository: str, reference: str, auth: Auth | None = None) -> bytes:
    """The bytes of a manifest by tag or digest, as skopeo gets them."""
    mark = "@" if ":" in reference else ":"
    place = f"docker://{host}/{repository}{mark}{reference}"
    return run_skopeo("inspect", "--raw", "--tls-verify=false", *_credentials("--creds", auth), place)


def _credentials(flag: str, auth: Auth | None) -> list[str]:
    return [] if auth is None else [flag, ":".join(auth)]
