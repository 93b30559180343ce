"""The TLS contexts of one registry: for its own host, and for the hosts that it leads to."""

from __future__ import annotations

import functools
import ssl

from imageferry.model import RegistryAccess
from imageferry.registry.http.certs_d import find_certificates


class TlsContexts:
    """The TLS contexts of one registry.

    What ``access`` says itself counts before the certificates that docker and podman keep for ``host`` (with or without
    a port). ``insecure`` and the client's certificate are for its own host alone; the authorities in ``ca_file`` vouch
    for the hosts that it leads to, too.

    Raises ``OSError`` or ``ssl.SSLError`` for certificate files that cannot be read.
    """

    def __init__(self, access: RegistryAccess | None, host: str) -> None:
        self._access = access or RegistryAccess()
        self._found = find_certificates(host)
        self.own = self._own_context()

    @functools.cached_property
    def others(self) -> ssl.SSLContext:
        """The context for other hosts: verified, and without a certificate of the client's."""
        if not self._authorities:
            return system_context()
        return self._verifying_context()

    @property
    def _authorities(self) -> tuple[str, ...]:
        access, found = self._access, self._found
        return (str(access.ca_file),) if access.ca_file else tuple(map(str, found.authorities))

    def _own_context(self) -> ssl.SSLContext:
        access = self._access
        pairs = ((access.client_cert, access.client_key),) if access.client_cert else self._found.clients
        if not (self._authorities or pairs or access.insecure):
            return system_context()
        context = _unverified_context() if access.insecure else self._verifying_context()
        for certificate, key in pairs:
            context.load_cert_chain(certificate, key)
        return context

    def _verifying_context(self) -> ssl.SSLContext:
        context = _verified_context()
        for file in self._authorities:
            context.load_verify_locations(file)
        return context


@functools.cache
def unverified_context() -> ssl.SSLContext:
    """Return the context that takes any certificate and shows none."""
    return _unverified_context()


def _unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@functools.cache
def system_context() -> ssl.SSLContext:
    """Return the context shared by all registries without settings: reading the system's authorities takes 50 ms."""
    return _verified_context()


def _verified_context() -> ssl.SSLContext:
    """Return a context with the system's authorities, which verifies as Go does, on every version of Python.

    From 3.13 on Python is stricter by default than the certificates that ``openssl req -x509`` makes. An intermediate
    authority or a server's own certificate may be given as one that is trusted.
    """
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
