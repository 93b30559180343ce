"""What Prefect keeps for a run: credentials that a configuration names, and whole configurations."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from imageferry.config import ConfigurationError, Diagnostic, Files, load, load_text
from imageferry.config.text.read import SIZE_LIMIT, read_document
from imageferry.credentials.named import CredentialsError, StoredCredentials
from imageferry.model import Configuration, RegistryAccess
from orchestration.blocks.block_types import ImageferryConfiguration, RegistryCredentials
from orchestration.blocks.worker_limits import FILE_KEYS, FileLimits, LimitedEnvironment

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# Prefect gives no block and no variable another name, and the rest would change the path of a request.
_NAME = re.compile(r"[^/?#%&<>]+")

# The key that every configuration has.
_IMAGES = re.compile(rb"""(?:^|[{,])\s*["']?images["']?\s*:""", re.MULTILINE)

# What may go wrong between here and the server.
_UNANSWERED = (httpx.HTTPError, RuntimeError)


def read_access_block(name: str) -> RegistryAccess:
    """Return the access of the block ``RegistryCredentials`` of this name. Raises ``CredentialsError``."""
    try:
        with get_client(sync_client=True) as client:
            document = _document(client, RegistryCredentials, name)
    except _UNANSWERED as error:
        raise CredentialsError(f"{name!r} cannot be asked for: {_describe_no_answer(error)}") from None
    if document is None:
        raise CredentialsError(
            f"there is no block Registry Credentials {name!r} on the Prefect server ({_server()}): "
            "make it there under Blocks, or write the credentials here"
        )
    try:
        block = RegistryCredentials.read(document)
    except ValueError as error:
        raise CredentialsError(f"the block Registry Credentials {name!r} has a fault: {error}") from None
    return block.access()


async def read_configuration(config: str) -> Configuration:
    """Read a configuration: a path that exists, else the block of this name, else the variable of this name.

    Raises ``ConfigurationError``, with every diagnostic.
    """
    # Files and Prefect's blocking client would hold up the event loop.
    return await asyncio.to_thread(_configuration_of, config)


def _configuration_of(config: str) -> Configuration:
    if _exists(config):
        return _configuration_of_file(Path(config))
    try:
        with get_client(sync_client=True) as client:
            name, text = _stored_text(client, config)
    except _UNANSWERED as error:
        problem = f"is no file here, and cannot be asked for under this name: {_describe_no_answer(error)}"
        raise ConfigurationError([Diagnostic(config, 0, 0, "", problem)]) from None
    if text is None:
        problem = (
            f"is no file in {Path.cwd()}, and the Prefect server ({_server()}) has neither a block Imageferry "
            "Configuration nor a variable of this name: give a path on the worker's machine or such a name"
        )
        raise ConfigurationError([Diagnostic(config, 0, 0, "", problem)])
    return _configuration_of_text(text, name)


def _configuration_of_file(path: Path) -> Configuration:
    """Read a file, which may be any that the worker can read: of one that is no configuration nothing is quoted."""
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "is no regular file"
        raise ConfigurationError.of(str(path), f"{what}: expected a JSON or YAML file")
    try:
        return load(Files(config=path), credentials=_limited_blocks(FileLimits(path.parent)))
    except ConfigurationError:
        if _mentions_images(path):
            raise
    raise ConfigurationError.of(
        str(path),
        "is no configuration, as it has no 'images', or cannot be read: nothing of it is repeated here, "
        f"and `imageferry --config {path} --dry-run` on the worker's machine says more",
    )


def _configuration_of_text(text: str, name: str) -> Configuration:
    """Check a stored configuration, which reads of the machine what the worker's owner has listed."""
    files = FileLimits(Path.cwd())
    diagnostics = _refused_files(text, name, files)
    try:
        configuration = load_text(
            text, name, environment=LimitedEnvironment(os.environ), credentials=_limited_blocks(files)
        )
    except ConfigurationError as error:
        raise ConfigurationError([*diagnostics, *error.diagnostics]) from None
    if diagnostics:
        raise ConfigurationError(diagnostics)
    return configuration


def _limited_blocks(files: FileLimits) -> StoredCredentials:
    return lambda name: files.check(read_access_block(name))


def _refused_files(text: str, name: str, files: FileLimits) -> list[Diagnostic]:
    """Return a diagnostic for each file that an entry of ``auth`` names and may not name."""
    try:
        document = read_document(text, name)
    except ConfigurationError:
        return []
    # Other errors are reported where the configuration is checked.
    document.diagnostics.clear()
    auth = document.value.get("auth") if isinstance(document.value, dict) else None
    for registry, entry in auth.items() if isinstance(auth, dict) else ():
        for key, path in entry.items() if isinstance(entry, dict) else ():
            # A path that is the value of a variable was allowed with it.
            names_file = key in FILE_KEYS and isinstance(path, str) and path and not path.startswith("$")
            if names_file and (problem := files.refusal(key, path)):
                document.report(("auth", registry, key), problem)
    return document.diagnostics


def _mentions_images(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _IMAGES.search(file.read(SIZE_LIMIT)) is not None
    except OSError:
        return False


def _stored_text(client: SyncPrefectClient, name: str) -> tuple[str, str | None]:
    """Return the name for diagnostics, and the text; None where neither a block nor a variable has the name."""
    document = _document(client, ImageferryConfiguration, name)
    if document is not None:
        # It is checked as a file is, with this name in each diagnostic.
        return f"block {name}", str(document.get("text") or "")
    variable = client.read_variable_by_name(name) if _NAME.fullmatch(name) else None
    if variable is None:
        return name, None
    value = variable.value
    return f"variable {name}", value if isinstance(value, str) else json.dumps(value, indent=2)


def _document(client: SyncPrefectClient, kind: type[Block], name: str) -> dict[str, Any] | None:
    """Return a block's fields with its secrets, or None where there is no such block."""
    if not _NAME.fullmatch(name):
        return None
    try:
        return client.read_block_document_by_name(name, kind.get_block_type_slug()).data
    except ObjectNotFound:
        return None


def _exists(config: str) -> bool:
    try:
        return Path(config).exists()
    except (OSError, ValueError):
        return False


def _server() -> str:
    return get_current_settings().api.url or "a local one"


def _describe_no_answer(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the Prefect server ({_server()}) answers {error.response.status_code}"
    return f"the Prefect server ({_server()}) does not answer"
