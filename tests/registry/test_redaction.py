"""Secrets that a registry, a token server or a proxy repeats are taken out of every error."""

import base64
import json
import logging
import urllib.parse
from collections.abc import Callable

import httpx
import pytest

from imageferry.errors import ImageferryError
from imageferry.registry.redaction import REDACTED, SHORTEST_ANYWHERE, TOKENS_KEPT, Secrets, redact
from tests.registry.canned import Answer, canned
from tests.registry.opening import access
from tests.registry.test_bad_answers import Asking, blob, challenging, leading, linked, look, read, start, tags

NAME, PASSWORD, IDENTITY = "robot$ci", 'p"ä/ss+wörd&1', "identity-token-of-a-long-life"
TOKEN = "eyJhbGciOiJSUzI1NiJ9." + "QmVhcmVy" * 40 + ".c2lnbmF0dXJl"
PAIR = f"{NAME}:{PASSWORD}"


def forms(secret: str) -> list[str]:
    """Return a secret in the forms in which it may be repeated."""
    encoded = secret.encode()
    return [
        secret,
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        base64.b64encode(encoded).decode(),
        base64.urlsafe_b64encode(encoded).decode(),
        repr(encoded)[2:-1],
    ]


@pytest.mark.parametrize("form", [*forms(PASSWORD), *forms(PAIR), *forms(IDENTITY), TOKEN, f"Bearer {TOKEN}"])
def test_every_form_is_redacted(form: str) -> None:
    secrets = Secrets()
    secrets.add_password(NAME, PASSWORD)
    secrets.add(IDENTITY)
    secrets.add_token(TOKEN)
    said = redact(f"denied: you sent '{form}' (and <{form}>)")
    secrets.close()
    assert form.rpartition(" ")[2] not in said
    assert said.startswith("denied: you sent '")
    assert said.count(REDACTED) == 2
    assert form in redact(f"denied: you sent {form}")


@pytest.mark.parametrize("cut", [TOKEN[:40], TOKEN[30:300], TOKEN[-24:], TOKEN[:97] + "..." + TOKEN[-97:]])
def test_a_part_of_a_token_is_redacted(cut: str) -> None:
    secrets = Secrets()
    secrets.add_token(TOKEN)
    assert secrets.redact(f"you sent {cut}") in (f"you sent {REDACTED}", f"you sent {REDACTED}...{REDACTED}")


def test_a_short_password_is_redacted_as_a_word_alone() -> None:
    secrets = Secrets()
    secrets.add_password("me", "test")
    assert len("test") < SHORTEST_ANYWHERE
    assert secrets.redact("latest: 'test', test=1 is no test") == "latest: '***', ***=1 is no ***"
    secrets.add("")
    assert secrets.redact("nothing") == "nothing"


def test_no_more_tokens_are_kept_than_a_bound() -> None:
    secrets = Secrets()
    for number in range(TOKENS_KEPT + 1):
        secrets.add_token(f"a-token-number-{number:08}")
    assert secrets.redact("a-token-number-00000000 a-token-number-00000001") == f"a-token-number-00000000 {REDACTED}"


def _echo(request: httpx.Request) -> list[str]:
    """Return what a registry knows of who asks."""
    sent = [request.headers.get("authorization", "nobody")]
    sent += [str(value) for value in urllib.parse.parse_qs(request.content.decode()).get("refresh_token", [])]
    scheme, _, rest = sent[0].partition(" ")
    if scheme == "Basic":
        sent.append(base64.b64decode(rest).decode())
    return sent


def refusal(request: httpx.Request) -> Answer:
    said = " ".join(_echo(request))
    return 403, [], json.dumps({"errors": [{"code": "DENIED", "message": "x" * 300 + said + "y" * 300}]}).encode()


def details(request: httpx.Request) -> Answer:
    return 400, [], json.dumps({"details": " ".join(_echo(request))}).encode()


def text(request: httpx.Request) -> Answer:
    return 418, [(b"content-type", b"text/plain")], " ".join(_echo(request)).encode()


def page(request: httpx.Request) -> Answer:
    return linked(b"http://h:port/" + request.headers.get("authorization", "").replace(" ", "/").encode())


def media_type(request: httpx.Request) -> Answer:
    return 200, [(b"content-type", f"a/b {request.headers.get('authorization')}".encode())], b"{}"


def location(request: httpx.Request) -> Answer:
    return 202, [(b"location", f"http://h:port/{request.headers.get('authorization')}".encode())], b""


def redirect(request: httpx.Request) -> Answer:
    return leading(f"http://h:port/{request.headers.get('authorization')}".encode())


def realm(request: httpx.Request) -> Answer:
    return challenging(f"file:///{request.headers.get('authorization')}".encode())


LEAKS: list[tuple[Asking, Callable[[httpx.Request], Answer]]] = [
    (read, refusal), (look, details), (blob, text), (tags, page), (read, media_type), (start, location),
    (read, redirect), (look, realm),
]  # fmt: skip


@pytest.mark.parametrize(("asking", "leak"), LEAKS)
@pytest.mark.parametrize("scheme", ["basic", "bearer", "token server"])
@pytest.mark.parametrize("identity", [False, True])
async def test_what_a_registry_repeats_is_in_no_error_and_no_log(
    asking: Asking,
    leak: Callable[[httpx.Request], Answer],
    scheme: str,
    identity: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    def answering(request: httpx.Request) -> Answer:
        if request.url.host == "tokens.example":
            return leak(request) if scheme == "token server" else (200, [], json.dumps({"token": TOKEN}).encode())
        if "authorization" in request.headers:
            return leak(request)
        if scheme == "basic":
            return 401, [(b"www-authenticate", b'Basic realm="x"')], b""
        return challenging(b"https://tokens.example/token")

    entry = access(identity_token=IDENTITY) if identity else access(NAME, PASSWORD)
    async with canned(answering, entry) as (repository, network):
        with pytest.raises(ImageferryError) as told:
            await asking(repository)
    if not (identity and scheme == "basic"):
        assert any("authorization" in request.headers or request.method == "POST" for request in network.asked)
    words = str(told.value) + repr(vars(told.value)) + caplog.text
    pair = base64.b64encode(PAIR.encode()).decode()
    for secret in (PASSWORD, IDENTITY, TOKEN, TOKEN[:30], TOKEN[-30:], pair, pair[:20], urllib.parse.quote(PASSWORD)):
        assert secret not in words


async def test_a_proxys_password_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pa%24%24word-of-all@proxy.example:3128")
    for entry in (access(), access(proxy="http://user:pa%24%24word-of-one@proxy.example:3128")):
        secret = "of-one" if entry.proxy else "of-all"
        pair = base64.b64encode(f"user:pa$$word-{secret}".encode()).decode()
        said = f"407: pa$$word-{secret} pa%24%24word-{secret} {pair}"
        answer: Answer = (407, [(b"content-type", b"text/plain")], said.encode())
        async with canned(lambda request, answer=answer: answer, entry) as (repository, _):  # type: ignore[misc]
            with pytest.raises(ImageferryError, match=r"\(407: \*\*\* \*\*\* \*\*\*=*\)"):
                await read(repository)
