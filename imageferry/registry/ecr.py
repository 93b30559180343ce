"""Repositories at Amazon ECR: it creates none on push, so they are created here if the user asks for it."""

from __future__ import annotations

import asyncio
import logging

from imageferry.registry.errors import RegistryError, Unavailable
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
        advice = "AWS credentials are looked for in the environment, in ~/.aws and in the machine's role"
        raise RegistryError(action, str(error), advice=advice) from None
