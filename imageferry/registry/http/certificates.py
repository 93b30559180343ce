"""The certificate that a host shows, looked at after it was refused: for whom it is, and until when."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import httpx

from imageferry.errors import ImageferryError
from imageferry.registry.http.internal_hosts import GuardedResolver
from imageferry.registry.transport_errors import ShownCertificate

# Seconds for a second handshake, and the names of one certificate that are reported.
LOOK_LIMIT = 5.0
NAMES_LIMIT = 10


class ShownCertificates:
    """Looks at certificates, each once: nothing is sent to who shows them."""

    def __init__(self, resolver: GuardedResolver) -> None:
        self._resolver = resolver
        self._seen: dict[tuple[str, int], ShownCertificate | None] = {}

    async def look_at(self, url: httpx.URL) -> ShownCertificate | None:
        """Return the certificate at an address; None if it cannot be got or read."""
        host, port = url.raw_host.decode().strip("[]"), url.port or 443
        if (host, port) not in self._seen:
            self._seen[host, port] = None
            with contextlib.suppress(OSError, ValueError, TimeoutError, ImageferryError):
                async with asyncio.timeout(LOOK_LIMIT):
                    self._seen[host, port] = _parse(await self._fetch(host, port))
        return self._seen[host, port]

    async def _fetch(self, host: str, port: int) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # An address is checked before a request is sent, a name where it is resolved.
        is_address = ":" in host or host.replace(".", "").isdigit()
        address = host if is_address else (await self._resolver.resolve(host, port))[0]["host"]
        _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
        try:
            shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.transport.abort()
        return shown or b""


def _parse(der: bytes) -> ShownCertificate:
    # It takes a while to import, and only an error wants it.
    from cryptography import x509  # noqa: PLC0415

    certificate = x509.load_der_x509_certificate(der)
    names: list[str] = []
    with contextlib.suppress(x509.ExtensionNotFound):
        names = [
            str(each.value)
            for each in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        ]
    return ShownCertificate(
        tuple(names[:NAMES_LIMIT]), certificate.not_valid_before_utc, certificate.not_valid_after_utc
    )
