"""Which files are read, and what wins over what."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from imageferry.config import ConfigurationError, Files, find_files, load, load_text
from imageferry.config.text.read import read_bytes
from imageferry.model import Configuration

IMAGES = {"quay.io/coreos/etcd": "x.example/etcd", "nginx:1.27": ["x.example/nginx", "y.example/nginx"]}
AUTH = {
    "quay.io": {"username": "u", "password": "p", "insecure": True},
    "quay.io/coreos": {"identity_token": "t"},
}


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def refused(*args: Any, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(*args, **options)
    return str(caught.value)


class TestFindingFiles:
    def test_the_first_existing_default_file_is_read(self, tmp_path: Path) -> None:
        for name in ("config.yml", "config.yaml", "config.json"):
            (tmp_path / name).touch()
            assert find_files(None, None, None, tmp_path) == Files(config=tmp_path / name)

    def test_no_default_file_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"config\.json: does not exist, nor does config\.yaml or"):
            find_files(None, None, None, tmp_path)

    def test_a_file_that_is_named_need_not_exist_yet(self, tmp_path: Path) -> None:
        assert find_files(Path("a.yaml"), None, None, tmp_path) == Files(config=Path("a.yaml"))

    def test_images_with_and_without_auth(self, tmp_path: Path) -> None:
        auth, images = Path("auth.json"), Path("images.json")
        assert find_files(None, auth, images, tmp_path) == Files(auth=auth, images=images)
        assert find_files(None, None, images, tmp_path) == Files(images=images)

    def test_one_file_for_all_comes_before_two(self, tmp_path: Path) -> None:
        # As with image-syncer, which reads the other two only where there is no --config.
        some, other = Path("x.json"), Path("y.json")
        for auth, images in ((other, None), (None, other), (other, other)):
            assert find_files(some, auth, images, tmp_path) == Files(config=some)

    def test_auth_alone_is_an_error(self, tmp_path: Path) -> None:
        some = Path("x.json")
        with pytest.raises(ConfigurationError, match="--auth: has no rules with it"):
            find_files(None, some, None, tmp_path)


class TestFiles:
    @pytest.mark.parametrize("name", ["c.json", "c.yaml", "c.yml", "c"])
    def test_one_file_with_auth_and_images(self, tmp_path: Path, name: str) -> None:
        path = write(tmp_path / name, {"auth": AUTH, "images": IMAGES})
        check(load(Files(config=path), environment={}))

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_two_files_with_auth_and_images_apart(self, tmp_path: Path, wrapped: bool) -> None:
        auth = write(tmp_path / "auth.json", {"auth": AUTH} if wrapped else AUTH)
        images = write(tmp_path / "images.json", {"images": IMAGES} if wrapped else IMAGES)
        check(load(Files(auth=auth, images=images), environment={}))

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_a_file_that_is_a_list_of_rules(self, tmp_path: Path, wrapped: bool) -> None:
        rules = [{"from": "b", "to": "x.example/b"}]
        path = write(tmp_path / "images.yaml", {"images": rules} if wrapped else rules)
        found = load(Files(images=path), environment={})
        assert [each.name for each in found.rules] == ["b"]
        assert found.access == {}

    @pytest.mark.parametrize("to", ["x.example/images", ["x.example/a", "x.example/b"]])
    def test_a_repository_named_images(self, tmp_path: Path, to: Any) -> None:
        path = write(tmp_path / "images.yaml", {"images": to, "auth": "x.example/auth"})
        assert [each.name for each in load(Files(images=path), environment={}).rules] == ["images", "auth"]

    def test_defaults_beside_images(self, tmp_path: Path) -> None:
        path = write(tmp_path / "i.yaml", {"images": {"b": ""}, "defaults": {"registry": "x.example"}})
        (rule,) = load(Files(images=path), environment={}).rules
        assert rule.destinations[0].repository.name == "x.example/b"

    def test_a_key_of_the_other_file_is_an_error(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.yaml", {"auth": AUTH, "images": IMAGES})
        told = refused(Files(auth=path, images=path), environment={})
        assert "belongs into the file of --auth" in told
        assert "belongs into the file of --images" in told

    def test_an_images_file_without_rules_is_an_error(self, tmp_path: Path) -> None:
        for text in ("images:\n", "x"):
            assert "expected a mapping of sources" in refused(Files(images=write(tmp_path / "i.yaml", text)))

    @pytest.mark.parametrize("text", ["{}", "[]", "images: {}", '{"images": []}'])
    def test_a_file_that_says_it_has_no_rules_is_nothing_to_do(self, tmp_path: Path, text: str) -> None:
        assert load(Files(images=write(tmp_path / "i.yaml", text)), environment={}).rules == ()
        assert load_text('{"images": {}}', "stored", environment={}).rules == ()
        assert load_text('{"images": []}', "stored", environment={}).rules == ()

    def test_an_images_file_that_is_empty_is_an_error(self, tmp_path: Path) -> None:
        for text in ("", "# rules\n"):
            assert "is empty" in refused(Files(images=write(tmp_path / "i.yaml", text)))

    def test_a_part_with_comments_alone_is_none(self, tmp_path: Path) -> None:
        parts = "auth:\n  # quay.io: {}\nregistries:\ndefaults:\n"
        found = load_text(parts + "images: {b: x.example/b}\n", "c.yaml", environment={})
        assert (found.access, found.registries, len(found.rules)) == ({}, {}, 1)
        images = write(tmp_path / "i.yaml", IMAGES)
        assert load(Files(auth=write(tmp_path / "a.yaml", "auth:\n"), images=images), environment={}).access == {}

    def test_keys_that_begin_with_x_hold_anchors(self, tmp_path: Path) -> None:
        anchor = "x-login: &login {username: u, password: p}\n"
        entry = "quay.io: *login"
        rules = "quay.io/a/b: x.example/b"
        both = load_text(f"{anchor}auth: {{{entry}}}\nimages: {{{rules}}}\n", "c.yaml", environment={})
        for auth, images in (
            (f"{anchor}{entry}\n", f"x-more: {{a: b}}\n{rules}\n"),
            (f"{anchor}auth: {{{entry}}}\n", f"x-more: [a]\nimages: {{{rules}}}\n"),
        ):
            files = Files(auth=write(tmp_path / "a.yaml", auth), images=write(tmp_path / "i.yaml", images))
            assert load(files, environment={}) == both

    def test_a_registry_or_a_repository_may_begin_with_x(self, tmp_path: Path) -> None:
        auth = write(tmp_path / "a.yaml", "x-mirror.example: {insecure: true}\n")
        images = write(tmp_path / "i.yaml", "x-tool: x-mirror.example/tool\n")
        found = load(Files(auth=auth, images=images), environment={})
        assert (list(found.access), [rule.name for rule in found.rules]) == (["x-mirror.example"], ["x-tool"])

    def test_an_auth_file_that_is_no_mapping_is_an_error(self, tmp_path: Path) -> None:
        images = write(tmp_path / "i.yaml", IMAGES)
        for text in ("- a", "x", "auth: 1"):
            path = write(tmp_path / "a.yaml", text)
            assert "expected a mapping of registries" in refused(Files(auth=path, images=images))

    def test_the_errors_of_both_files_are_reported_at_once(self, tmp_path: Path) -> None:
        auth = write(tmp_path / "auth.json", '{"quay.io": {"pasword": "p"}}')
        images = write(tmp_path / "images.yaml", "b:v1,v2: x.example/b:v\n'': x.example/b\n")
        lines = refused(Files(auth=auth, images=images), environment={}).splitlines()
        assert [line.split(": ")[0] for line in lines] == [f"{auth}:1", f"{images}:1", f"{images}:2"]

    def test_one_file_that_cannot_be_read_hides_nothing_of_the_other(self, tmp_path: Path) -> None:
        images = write(tmp_path / "images.yaml", "'': x.example/b\n")
        told = refused(Files(auth=tmp_path / "no.json", images=images), environment={})
        assert "no.json: does not exist: expected a JSON or YAML file" in told
        assert "the source is empty" in told

    def test_a_directory_is_an_error(self, tmp_path: Path) -> None:
        assert "is a directory" in refused(Files(config=tmp_path))

    def test_an_invalid_path_is_an_error(self) -> None:
        assert "is not a path" in refused(Files(config=Path("a\0b")))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_without_permission_is_an_error(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.json", "{}")
        path.chmod(0)
        assert "no permission" in refused(Files(config=path))

    def test_a_configuration_can_come_through_a_pipe(self) -> None:
        reading, writing = os.pipe()
        os.write(writing, b"images: {b: x.example/b}")
        os.close(writing)
        try:
            assert load(Files(config=Path(f"/dev/fd/{reading}")), environment={}).rules
        finally:
            os.close(reading)

    def test_a_pipe_is_read_once_for_all_who_load_it(self) -> None:
        reading, writing = os.pipe()
        os.write(writing, b"x-a: {b: c}\nimages: {b: x.example/b}")
        os.close(writing)
        read = functools.cache(read_bytes)
        try:
            first, second = (load(Files(config=Path(f"/dev/fd/{reading}")), environment={}, read=read) for _ in "12")
            assert first == second
        finally:
            os.close(reading)

    def test_no_file_at_all_is_an_error(self) -> None:
        assert "--config: is missing" in refused(Files())

    def test_an_error_names_the_file_as_the_user_did(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "c.yaml", "images: 1")
        assert refused(Files(config=Path("c.yaml"))).startswith("c.yaml:1: images: ")


class TestDefaults:
    TEXT = "images: {quay.io/a/b: ''}\ndefaults: {registry: file.example, namespace: file}\n"

    def goal(self, text: str, **options: Any) -> str:
        (rule,) = load_text(text, "c.yaml", **options).rules
        return rule.destinations[0].repository.name

    def test_the_defaults_of_the_file_count_without_flag_and_environment(self) -> None:
        assert self.goal(self.TEXT, environment={}) == "file.example/file/b"

    def test_the_environment_wins_over_the_file(self) -> None:
        environment = {"DEFAULT_REGISTRY": "env.example", "DEFAULT_NAMESPACE": "env"}
        assert self.goal(self.TEXT, environment=environment) == "env.example/env/b"

    def test_the_flags_win_over_all(self) -> None:
        environment = {"DEFAULT_REGISTRY": "env.example", "DEFAULT_NAMESPACE": "env"}
        options = {"registry": "flag.example", "namespace": "flag", "environment": environment}
        assert self.goal(self.TEXT, **options) == "flag.example/flag/b"

    def test_registry_and_namespace_are_resolved_independently(self) -> None:
        assert self.goal(self.TEXT, registry="flag.example", environment={}) == "flag.example/file/b"

    def test_an_empty_flag_or_variable_does_not_count(self) -> None:
        environment = {"DEFAULT_REGISTRY": "", "DEFAULT_NAMESPACE": ""}
        assert self.goal(self.TEXT, registry="", environment=environment) == "file.example/file/b"

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"registry": "https://x"}, "--registry: 'https://x' is not a registry"),
            ({"registry": "harbor"}, "--registry: 'harbor' is not a registry's host"),
            ({"namespace": "A"}, "--namespace: 'A' is not a repository"),
        ],
    )
    def test_an_invalid_flag_is_reported_once(self, options: dict[str, str], words: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            load_text(self.TEXT, "c.yaml", environment={}, **options)  # type: ignore[arg-type]
        (diagnostic,) = caught.value.diagnostics
        assert words in str(diagnostic)

    def test_the_line_break_at_the_end_of_a_variable_is_dropped(self) -> None:
        environment = {"DEFAULT_REGISTRY": "env.example\n", "DEFAULT_NAMESPACE": "env\n"}
        assert self.goal(self.TEXT, environment=environment) == "env.example/env/b"

    def test_an_invalid_variable_is_reported_without_its_value(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            load_text(self.TEXT, "c.yaml", environment={"DEFAULT_REGISTRY": "no such"})
        assert str(caught.value) == "$DEFAULT_REGISTRY: is not a registry: expected such as quay.io or x.example:5000"


def check(found: Configuration) -> None:
    assert list(found.access) == ["quay.io", "quay.io/coreos"]
    assert [each.name for each in found.rules] == list(IMAGES)
    assert found.access_to(found.rules[0].source.repository) is found.access["quay.io/coreos"]
