"""The tags of one repository, page by page."""

from typing import Literal

import pytest

from imageferry.registry import tags as listing
from imageferry.registry.errors import Forbidden, InvalidResponse, NotFound, RegistryError
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.exchange import Call, Reply
from testkit.registries.fault_rules import Fault, Proceed
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from tests.registry.opening import access, opened


def filled(registry: FakeRegistry, count: int) -> list[str]:
    """Give the repository so many tags."""
    registry.image("a/app", "v0000")
    for number in range(1, count):
        registry.tag("a/app", f"v{number:04}", "v0000")
    return [f"v{number:04}" for number in range(count)]


@pytest.mark.parametrize(("tags_null", "count"), [(True, 0), (False, 0), (False, 1), (False, 7)])
async def test_all_tags_come_on_one_page(tags_null: bool, count: int) -> None:
    with FakeRegistry(Quirks(tags_null=tags_null)) as registry:
        registry.storage.repository("a/app")
        tags = filled(registry, count) if count else []
        async with opened(registry.host) as repository:
            assert await repository.tags.all() == tags
        assert registry.count("tags") == 1


@pytest.mark.parametrize("link", ["relative", "absolute", "other-host", "other-scheme", "query-only"])
async def test_pages_follow_at_the_registrys_own_host(
    link: Literal["relative", "absolute", "other-host", "other-scheme", "query-only"],
) -> None:
    with FakeRegistry(Quirks(page_size=3, link=link)) as registry:
        tags = filled(registry, 10)
        async with opened(registry.host) as repository:
            assert await repository.tags.all() == tags
        assert registry.count("tags") == 4


async def test_a_page_that_leads_to_itself_is_the_last(fake_source: FakeRegistry) -> None:
    fake_source.quirks.page_size, fake_source.quirks.link = 3, "loop"
    tags = filled(fake_source, 10)
    async with opened(fake_source.host) as repository:
        assert await repository.tags.all() == tags[:3]
    assert fake_source.count("tags") <= 2


async def test_no_more_is_asked_for_than_every_registry_gives() -> None:
    with FakeRegistry(Quirks(most_tags=1000)) as registry:
        tags = filled(registry, 2500)
        async with opened(registry.host) as repository:
            assert await repository.tags.all() == tags
        assert [entry.query["n"] for entry in registry.log.entries("tags")] == [["1000"]] * 3


async def test_a_page_may_be_larger_than_was_asked_for(fake_source: FakeRegistry) -> None:
    names = ",".join(f'"v{number}"' for number in range(10_000))
    fake_source.rules.append(Fault("tags", actions.respond(200, f'{{"name":"a/app","tags":[{names}]}}'.encode())))
    async with opened(fake_source.host) as repository:
        assert len(await repository.tags.all()) == 10_000


async def test_a_tag_on_two_pages_is_one_tag(fake_source: FakeRegistry) -> None:
    headers = {"Link": '</v2/a/app/tags/list?last=b>; rel="next"'}
    fake_source.rules.append(Fault("tags", actions.respond(200, b'{"tags":["a","b"]}', headers), times=1))
    fake_source.rules.append(Fault("tags", actions.respond(200, b'{"tags":["b","c"]}'), skip=0))
    fake_source.rules.reverse()
    fake_source.rules[0].skip = 1
    async with opened(fake_source.host) as repository:
        assert await repository.tags.all() == ["a", "b", "c"]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"name": "a/app"}', b'{"tags": "v1"}', b'{"tags": [1, 2]}', b"[" * 100_000],
)
async def test_what_is_no_list_of_tags_is_told(fake_source: FakeRegistry, body: bytes) -> None:
    fake_source.rules.append(Fault("tags", actions.respond(200, body)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(InvalidResponse, match="no list of tags"):
            await repository.tags.all()


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (403, Forbidden), (500, NotFound)])
async def test_a_missing_repository_is_told_after_one_request(status: int, kind: type[Exception]) -> None:
    with FakeRegistry(Quirks(unknown_name=status)) as registry:
        async with opened(registry.host, "b/app") as repository:
            with pytest.raises(kind, match="b/app"):
                await repository.tags.all()
        assert registry.count("tags") == 1


@pytest.mark.parametrize(("pages", "size"), [(5, 1 << 40), (10_000, 200)])
async def test_a_list_without_end_ends(
    fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch, pages: int, size: int
) -> None:
    monkeypatch.setattr(listing, "PAGES_LIMIT", pages)
    monkeypatch.setattr(listing, "LIST_LIMIT", size)

    async def another(call: Call, proceed: Proceed) -> Reply:
        number = int(call.query("last") or 0) + 1
        headers = {"Link": f'<{call.path}?last={number}>; rel="next"'}
        return Reply(200, headers, f'{{"tags": ["v{number:06}", "w{number:06}", "x{number:06}"]}}'.encode())

    fake_source.rules.append(Fault("tags", another))
    async with opened(fake_source.host) as repository:
        with pytest.raises(InvalidResponse, match=r"lists tags without end \(5 pages so far\)"):
            await repository.tags.all()
    assert fake_source.count("tags") == 5


@pytest.mark.parametrize("link", ["http://host:port/", "http://host//x"])
async def test_a_next_page_that_is_nowhere_is_told(fake_source: FakeRegistry, link: str) -> None:
    headers = {"Link": f'<{link}>; rel="next"'}
    fake_source.rules.append(Fault("tags", actions.respond(200, b'{"tags":["a"]}', headers)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(InvalidResponse, match=f"the next page is at '{link}', which is not an address"):
            await repository.tags.all()
    assert fake_source.count("tags") == 1


async def test_a_token_that_ends_between_two_pages_is_renewed() -> None:
    bearer = Bearer({"ferry": "secret"})
    with FakeRegistry(Quirks(page_size=3), auth=bearer) as registry:
        tags = filled(registry, 10)
        registry.rules.append(Fault("tags", actions.run_first(bearer.revoke_all), times=1, skip=2))
        async with opened(registry.host, entry=access(username="ferry", password="secret")) as repository:
            assert await repository.tags.all() == tags
        # The first is refused for want of a token, the third for want of another one; no page is asked for anew.
        assert [entry.status for entry in registry.log.entries("tags")] == [401, 200, 401, 200, 200, 200]


@pytest.mark.parametrize("pages", [1, 3])
async def test_more_tags_than_are_read_are_told(
    fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    monkeypatch.setattr(listing, "TAGS_LIMIT", 9)
    fake_source.quirks.page_size = 10 // pages
    filled(fake_source, 9)
    async with opened(fake_source.host) as repository:
        assert len(await repository.tags.all()) == 9
        fake_source.tag("a/app", "one-more", "v0000")
        with pytest.raises(InvalidResponse, match=r"a/app: .* lists more than 9 tags; name the tags to copy"):
            await repository.tags.all()


@pytest.mark.parametrize(
    ("status", "body", "asked"),
    [
        (413, b"", ["1000", "100"]),
        (400, b'{"errors": [{"code": "PAGINATION_NUMBER_INVALID", "detail": {"n": 1000}}]}', ["1000", "100"]),
        (400, b'{"errors": [{"code": "X", "message": "n must not exceed 500"}]}', ["1000", "500"]),
        (400, b'{"errors": [{"code": "X", "detail": {"max": 50, "n": 1000}}]}', ["1000", "50"]),
        (413, b"limit is 1000000 for admins, at most 250 for you", ["1000", "250"]),
        (400, b"maximum: " + b"9" * 5000, ["1000", "100"]),
    ],
)
async def test_a_page_that_is_too_large_is_asked_for_with_fewer(status: int, body: bytes, asked: list[str]) -> None:
    async def refuse(call: Call, proceed: Proceed) -> Reply:
        return Reply(status, {}, body) if int(call.query("n") or 0) > int(asked[-1]) else await proceed(call)

    with FakeRegistry(Quirks(page_size=50)) as registry:
        registry.rules.append(Fault("tags", refuse))
        tags = filled(registry, 120)
        async with opened(registry.host) as repository:
            for _ in range(2):
                assert await repository.tags.all() == tags
        numbers = [entry.query.get("n", [""])[0] for entry in registry.log.entries("tags")]
        assert numbers[: len(asked)] == asked
        # Once, and three pages each time.
        assert (numbers.count("1000"), len(numbers)) == (1, 1 + 3 + 3)


async def test_a_registry_that_takes_no_number_is_told_none(fake_source: FakeRegistry) -> None:
    async def refuse(call: Call, proceed: Proceed) -> Reply:
        return Reply(400) if call.query("n") else await proceed(call)

    fake_source.rules.append(Fault("tags", refuse))
    tags = filled(fake_source, 3)
    async with opened(fake_source.host) as repository:
        for _ in range(2):
            assert await repository.tags.all() == tags
    assert [entry.query.get("n") for entry in fake_source.log.entries("tags")] == [["1000"], ["100"], None, None]


@pytest.mark.parametrize("status", [400, 413])
async def test_a_list_that_is_refused_whatever_is_asked_for_is_told_as_at_first(
    fake_source: FakeRegistry, status: int
) -> None:
    fake_source.rules.append(Fault("tags", actions.refuse(status, "UNSUPPORTED", "no lists here")))
    async with opened(fake_source.host) as repository:
        with pytest.raises(RegistryError, match="no lists here") as told:
            await repository.tags.all()
    assert told.value.status == status
    assert fake_source.count("tags") == 3


async def test_a_repository_that_is_unknown_with_400_is_asked_for_once() -> None:
    with FakeRegistry(Quirks(unknown_name=400)) as registry:
        async with opened(registry.host, "b/app") as repository:
            with pytest.raises(NotFound):
                await repository.tags.all()
        assert registry.count("tags") == 1
