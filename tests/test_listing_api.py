"""Which API a registry's host tells, and what cannot be listed."""

import pytest

from imageferry.listing_api import LISTING_APIS, ListingApi, api_of_host, why_unlistable


@pytest.mark.parametrize(
    ("registry", "api"),
    [
        ("docker.io", "dockerhub"),
        ("quay.io", "quay"),
        ("ghcr.io", "ghcr"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "ecr"),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "ecr"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "ecr"),
        ("public.ecr.aws", "none"),
        ("europe-docker.pkg.dev", "gar"),
        ("gcr.io", "gar"),
        ("eu.gcr.io:443", "gar"),
        ("team.azurecr.io", "acr"),
        ("registry.cn-beijing.aliyuncs.com", "none"),
        ("team-registry.cn-hangzhou.cr.aliyuncs.com:443", "none"),
        ("registry.example:5000", None),
        ("quay.io.example", None),
        ("notgcr.io", None),
        ("pkg.dev", None),
        ("[::1]:5000", None),
    ],
)
def test_a_host_tells_its_api(registry: str, api: str | None) -> None:
    assert api_of_host(registry) == api


@pytest.mark.parametrize(
    ("registry", "prefix", "api", "words"),
    [
        ("docker.io", "", None, "Docker Hub cannot be listed as a whole: name a namespace, as docker.io/team/*"),
        ("docker.io", "team", None, ""),
        ("quay.io", "", None, "Quay cannot be listed as a whole: name a namespace, as quay.io/team/*"),
        ("ghcr.io", "", None, "GitHub's registry cannot be listed as a whole: name a owner, as ghcr.io/team/*"),
        ("quay.example", "", "quay", "Quay cannot be listed as a whole: name a namespace, as quay.example/team/*"),
        ("public.ecr.aws", "team", None, "Amazon ECR Public gives no list of repositories: name repositories"),
        ("a.aliyuncs.com", "", None, "listing Alibaba Cloud's registries is not supported: name repositories"),
        ("a.aliyuncs.com", "", "catalog", ""),
        ("registry.example", "team", "none", "registry.example is not to be listed (api: none): name repositories"),
        ("registry.example", "", None, ""),
        ("harbor.example", "", "harbor", ""),
    ],
)
def test_what_cannot_be_listed_is_known_before_it_is_asked(
    registry: str, prefix: str, api: ListingApi | None, words: str
) -> None:
    assert why_unlistable(registry, prefix, api) == words.replace("a owner", "an owner")


def test_the_names_of_apis() -> None:
    assert LISTING_APIS[0] == "harbor"
    assert LISTING_APIS[-1] == "none"
    assert len(set(LISTING_APIS)) == 11
