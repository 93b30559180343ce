"""By which API the repositories of a registry are listed, as far as its host tells; and what cannot be listed."""

from __future__ import annotations

from typing import Literal, get_args

from imageferry.reference import DOCKER_HUB
from imageferry.registry_key import ECR_HOST

ListingApi = Literal[
    "harbor", "gitlab", "quay", "dockerhub", "ghcr", "ecr", "gar", "acr", "artifactory", "catalog", "none"
]
LISTING_APIS: tuple[str, ...] = get_args(ListingApi)

_HOSTS: dict[str, ListingApi] = {DOCKER_HUB: "dockerhub", "quay.io": "quay", "ghcr.io": "ghcr", "gcr.io": "gar"}
_ENDINGS: dict[str, ListingApi] = {
    ".pkg.dev": "gar",
    ".gcr.io": "gar",
    ".azurecr.io": "acr",
    ".azurecr.cn": "acr",
    ".azurecr.us": "acr",
}

# Hosts of which nothing can be listed, and why.
_UNLISTABLE = {
    "public.ecr.aws": "Amazon ECR Public gives no list of repositories",
    ".aliyuncs.com": "listing Alibaba Cloud's registries is not supported",
}

# APIs that list what is below a first part alone: who has them, and what that part is.
_PARTS: dict[str, tuple[str, str]] = {
    "dockerhub": ("Docker Hub", "a namespace"),
    "quay": ("Quay", "a namespace"),
    "ghcr": ("GitHub's registry", "an owner"),
    "gar": ("Google's registry", "a project"),
    "gitlab": ("GitLab", "a group or project"),
    "artifactory": ("Artifactory", "a repository key"),
}


def api_of_host(registry: str) -> ListingApi | None:
    """Return the API that a registry's host is known to have; None if it must be asked."""
    host = _without_port(registry)
    if _unlistable(host):
        return "none"
    if ECR_HOST.fullmatch(host):
        return "ecr"
    return _HOSTS.get(host) or next((api for ending, api in _ENDINGS.items() if host.endswith(ending)), None)


def why_unlistable(registry: str, prefix: str, api: ListingApi | None = None) -> str:
    """Return why what is below a prefix cannot be listed, before the registry is asked; empty if it may be.

    ``prefix`` are the first parts of a repository's path, ``api`` what the configuration names.
    """
    if api == "none":
        return f"{registry} is not to be listed (api: none): name repositories"
    host = _without_port(registry)
    if api is None and (reason := _unlistable(host)):
        return f"{reason}: name repositories"
    known = api or api_of_host(registry)
    if known in _PARTS and not prefix:
        whose, part = _PARTS[known]
        return f"{whose} cannot be listed as a whole: name {part}, as {registry}/team/*"
    return ""


def _unlistable(host: str) -> str:
    return next((reason for name, reason in _UNLISTABLE.items() if host == name or _ends(host, name)), "")


def _ends(host: str, ending: str) -> bool:
    return ending.startswith(".") and host.endswith(ending)


def _without_port(registry: str) -> str:
    return registry.rpartition(":")[0] if registry.rpartition(":")[2].isdecimal() else registry
