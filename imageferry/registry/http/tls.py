"""The TLS context of one registry."""

from __future__ import annotations

import functools
import ssl

from imageferry.model import RegistryAccess


def tls_context(access: RegistryAccess | None) -> ssl.SSLContext:
    """Return the TLS context: the system's authorities and ``ca_file``, the client's certificate, or no check at all.

    Raises ``OSError`` or ``ssl.SSLError`` for certificate files that cannot be read.
    """
    if access is None or not (access.ca_file or access.client_cert or access.insecure):
        return _system_context()
    if access.insecure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context()
    if access.ca_file:
        context.load_verify_locations(access.ca_file)
    if access.client_cert:
        context.load_cert_chain(access.client_cert, access.client_key)
    return context


@functools.cache
def _system_context() -> ssl.SSLContext:
    """Return the context shared by all registries without settings: reading the system's authorities takes 50 ms."""
    return ssl.create_default_context()
