"""Proxies that speak SOCKS."""

import asyncio
import contextlib
import importlib.util
from typing import Any

import pytest

from imageferry.registry.errors import InvalidResponse, RegistryError
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.loopback import serving
from tests.registry.opening import access, opened

NAME = "registry.invalid:5000"


class SocksProxy:
    """Speaks as much of SOCKS 5 (RFC 1928) as a client without a password needs; names lead to one address."""

    def __init__(self, route: str, reply: int = 0) -> None:
        self.route, self.reply = route, reply
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(b"\x05\x00")
        *_, kind, length = await reader.readexactly(5)
        assert kind == 3
        name = await reader.readexactly(length)
        self.asked.append(f"{name.decode()}:{int.from_bytes(await reader.readexactly(2))}")
        writer.write(bytes([5, self.reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        if self.reply:
            await writer.drain()
            return
        address, _, port = self.route.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(address, int(port))
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


async def test_a_registry_is_reached_through_it(fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_source.image("a/app", "v1")
    proxy = SocksProxy(fake_source.host)
    async with serving(proxy.serve) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"socks5://{address}")
        monkeypatch.setenv("HTTP_PROXY", f"socks5h://{address}")
        async with opened(NAME) as repository:
            assert await repository.manifests.head("v1")
    # It resolves the names.
    assert set(proxy.asked) == {NAME}


@pytest.mark.parametrize(("reply", "words"), [(2, "refuses: .*not allowed"), (4, "refuses: .*[Uu]nreachable")])
async def test_one_that_refuses_is_named(reply: int, words: str) -> None:
    proxy = SocksProxy("", reply)
    async with serving(proxy.serve) as address:
        entry = access(insecure=False, proxy=f"socks5://{address}")
        async with opened(NAME, entry=entry) as repository:
            with pytest.raises(RegistryError, match=rf"{NAME} is not reached: its proxy {address} {words}"):
                await repository.manifests.head("v1")


async def test_one_that_is_down_is_named() -> None:
    async with serving(SocksProxy("").serve) as address:
        pass
    async with opened(NAME, entry=access(insecure=False, proxy=f"socks5://{address}")) as repository:
        with pytest.raises(RegistryError, match=rf"its proxy {address} does not answer"):
            await repository.manifests.head("v1")


async def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> Any:
        return None if name == "aiohttp_socks" else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    monkeypatch.setenv("ALL_PROXY", "socks5://me:secret@proxy.example:1080")
    async with opened(NAME) as repository:
        with pytest.raises(InvalidResponse, match=r"pip install 'imageferry\[socks\]'") as caught:
            await repository.manifests.head("v1")
    assert "socks5://proxy.example:1080" in str(caught.value)
    assert "secret" not in str(caught.value)
