"""Docker schema 1 manifests, signed as Docker signed them."""

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from testkit.images.documents import DOCKER_SCHEMA1, Document, sha256


def schema1_manifest(repository: str, tag: str, layers: list[bytes]) -> Document:
    """Make a signed manifest of layers, which are its blobs. A registry's digest for it is the payload's."""
    history = [
        {"v1Compatibility": json.dumps({"id": hashlib.sha256(layer).hexdigest(), "created": "2015-01-01T00:00:00Z"})}
        for layer in layers
    ]
    content = {
        "schemaVersion": 1,
        "name": repository,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": sha256(layer)} for layer in layers],
        "history": history,
    }
    return Document(signed(json.dumps(content, indent=3).encode()), DOCKER_SCHEMA1, tuple(layers))


def signed(payload: bytes) -> bytes:
    """Sign a document the way libtrust does: the signature goes in before the closing brace."""
    key = ec.generate_private_key(ec.SECP256R1())
    tail = b"\n}"
    length = len(payload) - len(tail)
    protected = _encode(
        json.dumps({"formatLength": length, "formatTail": _encode(tail), "time": "2015-01-01T00:00:00Z"}).encode()
    )
    signature = key.sign(f"{protected}.{_encode(payload)}".encode(), ec.ECDSA(hashes.SHA256()))
    numbers = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(signature))
    entry = {
        "header": {"jwk": _public_key(key.public_key()), "alg": "ES256"},
        "signature": _encode(numbers),
        "protected": protected,
    }
    signatures = json.dumps([entry], indent=3).replace("\n", "\n   ")
    return payload[:length] + f',\n   "signatures": {signatures}'.encode() + tail


def envelope(length: Any, tail: bytes) -> list[dict[str, Any]]:
    """Make the signatures, signed by nobody, of a document whose payload is said to be its first bytes and a tail."""
    protected = {"formatLength": length, "formatTail": _encode(tail), "time": "2015-01-01T00:00:00Z"}
    return [{"header": {"alg": "none"}, "signature": "", "protected": _encode(json.dumps(protected).encode())}]


def _public_key(key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    numbers = key.public_numbers()
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    fingerprint = base64.b32encode(hashlib.sha256(encoded).digest()[:30]).decode()
    return {
        "crv": "P-256",
        "kid": ":".join(fingerprint[start : start + 4] for start in range(0, len(fingerprint), 4)),
        "kty": "EC",
        "x": _encode(numbers.x.to_bytes(32, "big")),
        "y": _encode(numbers.y.to_bytes(32, "big")),
    }


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
