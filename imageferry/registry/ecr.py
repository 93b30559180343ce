"""Repositories at Amazon ECR: it creates none on push, so they are created here if the user asks for it."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

from imageferry.registry.errors import NotFound, RegistryError, Unavailable
from imageferry.registry_key import ECR_HOST

logger = logging.getLogger(__name__)

# Seconds for a connection to Amazon's API, and for its answer.
CONNECT_LIMIT = 10.0
ANSWER_LIMIT = 30.0

# It allows a few creations a second.
TRIES = {"mode": "standard", "total_max_attempts": 8}

# What its API answers for a repository that exists, and for calls that may succeed later.
_EXISTS = "RepositoryAlreadyExistsException"
_TRANSIENT = frozenset({"ServerException", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable"})
_KINDS = dict.fromkeys(_TRANSIENT, Unavailable) | {"RepositoryNotFoundException": NotFound}

_WHERE_CREDENTIALS = "AWS credentials are looked for in the environment, in ~/.aws and in the machine's role"


def is_ecr(registry: str) -> bool:
    """Whether the registry is the private one of an AWS account."""
    return ECR_HOST.fullmatch(registry) is not None


async def create_repository(registry: str, repository: str) -> None:
    """Create a repository with the AWS credentials of this process; one that exists already is no error.

    The credentials are what botocore finds: the environment, a profile, the machine's or the pod's role. Raises
    ``RegistryError``. (Amazon ECR API, "CreateRepository".)
    """
    logger.info("creating repository %s at %s", repository, registry)
    await asyncio.to_thread(_create, registry, repository)


class EcrApi:
    """Amazon's API of one registry, to read from; its calls block, and threads may share it.

    Its AWS credentials are what botocore finds: the environment, a profile, the machine's or the pod's role.
    """

    def __init__(self, registry: str) -> None:
        self._registry = registry

    def call(self, operation: str, action: str, **arguments: object) -> dict[str, Any]:
        """Return what an operation, such as ``describe_images``, answers of this registry.

        ``action`` is what it is for. Raises ``RegistryError``, ``NotFound`` for a repository that does not exist.
        """
        try:
            # Imported late: it is an optional dependency, and slow to import.
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        except ImportError:
            advice = "install imageferry[ecr]"
            raise RegistryError(action, "Amazon's API needs botocore, which is not installed", advice=advice) from None
        try:
            called = getattr(self._client, operation)
            answer: dict[str, Any] = called(registryId=self._registry.partition(".")[0], **arguments)
        except ClientError as error:
            said = error.response.get("Error", {})
            code = str(said.get("Code", ""))
            reason = f"Amazon's API answered {code}: {said.get('Message', '')}"
            permission = "".join(part.capitalize() for part in operation.split("_"))
            kind = _KINDS.get(code, RegistryError)
            raise kind(action, reason, advice=f"the AWS credentials must allow ecr:{permission}") from None
        except BotoCoreError as error:
            raise RegistryError(action, str(error), advice=_WHERE_CREDENTIALS) from None
        return answer

    @functools.cached_property
    def _client(self) -> Any:
        """The client, which takes a tenth of a second to make."""
        from botocore.config import Config  # noqa: PLC0415
        from botocore.session import get_session  # noqa: PLC0415

        found = ECR_HOST.fullmatch(self._registry)
        assert found is not None
        config = Config(connect_timeout=CONNECT_LIMIT, read_timeout=ANSWER_LIMIT, retries=TRIES)
        return get_session().create_client("ecr", region_name=found["region"], config=config)


def _create(registry: str, repository: str) -> None:
    # Imported late: it is an optional dependency, and slow to import.
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    found = ECR_HOST.fullmatch(registry)
    assert found is not None
    action = f"create repository {repository} at {registry}"
    config = Config(connect_timeout=CONNECT_LIMIT, read_timeout=ANSWER_LIMIT, retries=TRIES)
    try:
        client = get_session().create_client("ecr", region_name=found["region"], config=config)
        client.create_repository(registryId=registry.partition(".")[0], repositoryName=repository)
    except ClientError as error:
        said = error.response.get("Error", {})
        code = str(said.get("Code", ""))
        if code == _EXISTS:
            return
        reason = f"Amazon's API answered {code}: {said.get('Message', '')}"
        kind = Unavailable if code in _TRANSIENT else RegistryError
        raise kind(action, reason, advice="the AWS credentials must allow ecr:CreateRepository") from None
    except BotoCoreError as error:
        raise RegistryError(action, str(error), advice=_WHERE_CREDENTIALS) from None
