"""The entries of ``registries``, and the bandwidth of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imageferry.config import ConfigurationError, Files, load, load_text
from imageferry.config.registries import LimitError, parse_bandwidth
from imageferry.model import BUILT_IN_LIMITS, RegistrySettings

RULES = "images: {b: x.example/b}\n"


def read(registries: Any) -> dict[str, RegistrySettings]:
    text = json.dumps({"registries": registries, "images": {"b": "x.example/b"}})
    return load_text(text, "c.json", environment={}).registries


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1000", 1000),
        ("50MiB/s", 50 * 2**20),
        ("50 MiB/s", 50 * 2**20),
        (" 50MiB ", 50 * 2**20),
        ("8kB/s", 8000),
        ("8KB", 8000),
        ("8KiB", 8192),
        ("2.5MB/s", 2_500_000),
        ("1GB/s", 10**9),
        ("1GiB/s", 2**30),
        ("4096B/s", 4096),
    ],
)
def test_a_bandwidth_in_bytes_a_second(text: str, rate: int) -> None:
    assert parse_bandwidth(text) == rate


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no bandwidth"),
        ("fast", "is no bandwidth"),
        ("-5MB/s", "is no bandwidth"),
        ("1e6", "is no bandwidth"),
        ("nan", "is no bandwidth"),
        ("5MB/h", "is no bandwidth"),
        ("5M", "such as 50MiB/s"),
        ("8Mbit/s", "bits are not taken"),
        ("8mb/s", "bits are not taken"),
        ("٣MB", "is no bandwidth"),
        ("0", "out of bounds"),
        ("0MB/s", "out of bounds"),
        ("999", "out of bounds"),
        ("99999999GB/s", "out of bounds"),
        ("9" * 400, "is no bandwidth"),
    ],
)
def test_an_invalid_bandwidth_is_refused(text: str, words: str) -> None:
    with pytest.raises(LimitError, match=words):
        parse_bandwidth(text)


def test_an_entry_has_what_is_written_in_it() -> None:
    found = read(
        {
            "Quay.IO": {"requests": 4, "requests_per_second": 2.5, "bandwidth": "50MiB/s"},
            "https://index.docker.io/v1/": {"bandwidth": 1_000_000},
            "localhost:5000": {},
        }
    )
    assert found["quay.io"] == RegistrySettings(requests=4, requests_per_second=2.5, bandwidth=50 * 2**20)
    assert found["docker.io"] == RegistrySettings(bandwidth=1_000_000)
    assert found["localhost:5000"] == RegistrySettings()


def test_own_entry_over_any_registry_over_built_in_key_by_key() -> None:
    text = "registries: {'*': {requests: 8, bandwidth: 9MB}, quay.io: {requests: 2}, docker.io: {bandwidth: 1MB}}\n"
    found = load_text(text + RULES, "c.yaml", environment={})
    assert found.settings_of("quay.io") == RegistrySettings(requests=2, bandwidth=9_000_000)
    assert found.settings_of("x.example") == RegistrySettings(requests=8, bandwidth=9_000_000)
    built_in = BUILT_IN_LIMITS["docker.io"].requests_per_second
    assert found.settings_of("docker.io") == RegistrySettings(
        requests=8, requests_per_second=built_in, bandwidth=1_000_000
    )


def test_without_an_entry_only_docker_hub_is_limited() -> None:
    found = load_text(RULES, "c.yaml", environment={})
    assert found.settings_of("quay.io") == RegistrySettings()
    assert found.settings_of("docker.io") == RegistrySettings(**BUILT_IN_LIMITS["docker.io"].model_dump())


BROKEN = {
    "a text": ("registries: quay.io", "is text: expected a mapping of registries"),
    "a list": ("registries: []", "is a list: expected a mapping of registries"),
    "an entry that is a number": ("registries: {quay.io: 5}", "is a number: expected a mapping of requests"),
    "an unknown key": ("registries: {quay.io: {request: 5}}", "did you mean 'requests'?"),
    "a key like no other": ("registries: {quay.io: {zz: 5}}", "known are requests, requests_per_second, bandwidth"),
    "a namespace": ("registries: {quay.io/team: {requests: 5}}", "a whole registry: expected quay.io"),
    "a registry that is none": ("registries: {quay: {requests: 5}}", "is not a registry's host"),
    "a pattern": ("registries: {'*.io': {requests: 5}}", "is not a registry"),
    "no requests": ("registries: {quay.io: {requests: 0}}", "is 0: expected a whole number from 1"),
    "less than no requests": ("registries: {quay.io: {requests: -1}}", "is -1: expected a whole number from 1"),
    "half a request": ("registries: {quay.io: {requests: 1.5}}", "is 1.5: expected a whole number"),
    "far too many requests": ("registries: {quay.io: {requests: 100000}}", "expected a whole number from 1 to 1,000"),
    "quoted requests": ("registries: {quay.io: {requests: '5'}}", "is text: expected a whole number"),
    "requests true": ("registries: {quay.io: {requests: true}}", "is true or false: expected a whole number"),
    "requests that are nothing": ("registries: {quay.io: {requests: }}", "is nothing: expected a whole number"),
    "no rate": ("registries: {quay.io: {requests_per_second: 0}}", "is 0: expected a number of requests a second"),
    "an endless rate": ("registries: {quay.io: {requests_per_second: .inf}}", "is .inf: expected a number"),
    "a rate that is none": ("registries: {quay.io: {requests_per_second: .nan}}", "is .nan: expected a number"),
    "a rate in words": ("registries: {quay.io: {requests_per_second: 5/s}}", "is text: expected a number"),
    "bandwidth in words": ("registries: {quay.io: {bandwidth: fast}}", "'fast' is no bandwidth"),
    "bandwidth in bits": ("registries: {quay.io: {bandwidth: 8Mbit/s}}", "8 Mbit/s are 1MB/s"),
    "no bandwidth": ("registries: {quay.io: {bandwidth: 0}}", "leave it out for no limit"),
    "foreign layers in words": ("registries: {quay.io: {foreign_layers: 'yes'}}", "is text: expected true or false"),
    "creation elsewhere": ("registries: {quay.io: {create_repositories: true}}", "is for Amazon ECR"),
    "a list of bandwidths": ("registries: {quay.io: {bandwidth: [1MB]}}", "is a list: expected bytes a second"),
}


def test_truth_values_of_old_yaml_and_an_entry_of_comments_alone() -> None:
    text = "registries: {quay.io: {foreign_layers: yes}, ghcr.io: }\nimages: {b: x.example/b}\n"
    found = load_text(text, "c.yaml", environment={}).registries
    assert (found["quay.io"].foreign_layers, found["ghcr.io"]) == (True, RegistrySettings())


@pytest.mark.parametrize(("line", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_an_invalid_limit_is_reported_with_its_line(line: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text(f"{RULES}{line}\n", "c.yaml", environment={})
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.line == 2
    assert words in diagnostic.message


def test_all_errors_are_reported_at_once_each_with_its_key() -> None:
    text = (
        "registries:\n  docker.io: {requests: 0, bandwidth: fast}\n  index.docker.io: {}\n  quay.io: {rate: 1}\n"
        "images: {'': x.example/b}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load_text(text, "c.yaml", environment={})
    assert [(diagnostic.line, diagnostic.key) for diagnostic in caught.value.diagnostics] == [
        (2, "registries.docker.io.requests"),
        (2, "registries.docker.io.bandwidth"),
        (3, "registries.index.docker.io"),
        (4, "registries.quay.io.rate"),
        (5, "images."),
    ]


def files(folder: Path, auth: str, images: str) -> Files:
    (folder / "auth.yaml").write_text(auth)
    (folder / "images.yaml").write_text(images)
    return Files(auth=folder / "auth.yaml", images=folder / "images.yaml")


@pytest.mark.parametrize(
    ("auth", "images"),
    [
        ("auth: {}\nregistries: {quay.io: {requests: 3}}\n", "b: x.example/b\n"),
        ("registries: {quay.io: {requests: 3}}\n", RULES),
        ("auth: {}\n", "registries: {quay.io: {requests: 3}}\n" + RULES),
        ("quay.io: {insecure: true}\n", "registries: {quay.io: {requests: 3}}\n" + RULES),
    ],
)
def test_registries_may_be_in_either_of_two_files(tmp_path: Path, auth: str, images: str) -> None:
    found = load(files(tmp_path, auth, images), environment={})
    assert found.registries == {"quay.io": RegistrySettings(requests=3)}
    assert len(found.rules) == 1


def test_registries_in_both_of_two_files_are_an_error(tmp_path: Path) -> None:
    named = files(tmp_path, "registries: {quay.io: {}}\n", RULES + "registries: {quay.io: {}}\n")
    with pytest.raises(ConfigurationError, match=r"images\.yaml:2: registries: stands in .*auth\.yaml too"):
        load(named, environment={})
