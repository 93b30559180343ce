"""Memory grows neither with the size of blobs nor, beyond what a report holds, with the number of tags."""

import contextlib
import gzip
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

from testkit.images.documents import OCI_MANIFEST
from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import AnyRegistry, configured

MIB = 1024 * 1024


class Bulk:
    """A registry of the program `testkit.registries.bulk`."""

    def __init__(self, host: str) -> None:
        self.host = host

    @property
    def received(self) -> int:
        """The bytes of the uploads that it was given."""
        with urllib.request.urlopen(f"http://{self.host}/received") as answer:
            return int(json.load(answer))


@contextlib.contextmanager
def bulk(layers: int, mib: int, tags: int) -> Iterator[Bulk]:
    """Run the registry in a process of its own, whose memory is not the engine's."""
    words = [sys.executable, "-m", "testkit.registries.bulk", str(layers), str(mib), str(tags)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Bulk(process.stdout.readline().strip())
        finally:
            process.kill()


def measured(what: str, source: AnyRegistry, destination: AnyRegistry, rule: str) -> dict[str, int]:
    """Return what a run measured of itself."""
    text = configured({f"{source.host}/a/app{rule}": f"{destination.host}/a/app"}, source, destination)
    done = subprocess.run(
        [sys.executable, "-m", "tests.copy.measured", what], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_eight_gib_of_layers_take_no_more_than_64_mib() -> None:
    with bulk(8, 1024, 1) as source, bulk(0, 0, 0) as destination:
        figures = measured("copy", source, destination, "")
        assert figures["copied"] == 1
        assert destination.received >= figures["bytes_written"] >= 8 * 1024 * MIB
    assert figures["peak"] - figures["idle"] < 64 * MIB


def test_fifty_thousand_tags_are_planned_within_300_mib() -> None:
    with bulk(1, 1, 50_000) as source, bulk(1, 1, 1_000) as destination:
        figures = measured("plan", source, destination, "")
    assert figures["up_to_date"] == 1_000
    assert figures["to_copy"] == 49_000
    assert figures["peak"] < 300 * MIB


def filled_up(content: dict[str, Any], key: str, junk: bytes) -> bytes:
    """Make a document of 4 MiB that has so much junk in a list of its own."""
    head = json.dumps({**content, key: []}).encode()[:-2]
    count = (4 * MIB - len(head) - 3) // len(junk)
    return head + junk * count + b"0]}"


# What takes the most memory: objects that are parsed and not looked at.
COUNTLESS = filled_up({"layers": []}, "x", b"[],")


def test_what_manifests_unpack_to_is_held_within_a_bound(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    # Some 100 kB on the wire.
    for number in range(16):
        fake_source.add_manifest("a/app", f"v{number}", COUNTLESS, OCI_MANIFEST)
    packed = gzip.compress(COUNTLESS, 6)
    fake_source.rules.append(Fault("manifest-get", actions.replace_body(packed, {"Content-Encoding": "gzip"})))
    figures = measured("run", fake_source, fake_destination, "")
    assert figures["failed"] == 16
    assert figures["peak"] - figures["idle"] < 160 * MIB
