"""Imageferry's blocks: what Prefect keeps for its runs, with a form in the UI.

`make deploy` makes the forms known to a Prefect server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from imageferry.config import UNKNOWN_ENVIRONMENT, ConfigurationError, load_text
from imageferry.credentials.named import NamedCredentials
from imageferry.model import RegistryAccess

# An error never repeats what was typed.
_DISCREET = ConfigDict(hide_input_in_errors=True)


class RegistryCredentials(Block):
    """The login of a registry, and how it is reached: what an entry of `auth` holds. The entry names this block."""

    model_config: ClassVar[ConfigDict] = _DISCREET

    _block_type_name = "Registry Credentials"
    _block_type_slug = "registry-credentials"
    _description = (
        "The login of a container registry. A configuration names it: auth: {docker.io: {credentials: my-hub}}"
    )
    _code_example = "auth:\n  docker.io: {credentials: my-hub}\n"

    username: str = Field(default="", title="User name", description="With a password; or leave both empty")
    password: SecretStr | None = Field(default=None, title="Password", description="Or an access token used as one")
    identity_token: SecretStr | None = Field(
        default=None,
        title="Identity token",
        description="An OAuth2 refresh token, instead of user name and password",
    )
    insecure: bool = Field(
        default=False, title="Insecure", description="Plain HTTP, or HTTPS with a certificate that does not verify"
    )
    ca_file: str = Field(
        default="",
        title="Certificate authority",
        description="A PEM file on the worker's machine, beside the system's authorities",
    )
    client_cert: str = Field(default="", title="Client certificate", description="A PEM file on the worker's machine")
    client_key: str = Field(
        default="",
        title="Client key",
        description="A PEM file on the worker's machine, where the certificate's file has not the key too",
    )
    proxy: SecretStr | None = Field(
        default=None, title="Proxy", description="http://host:port or http://user:password@host:port"
    )

    @model_validator(mode="after")
    def _check_pairs(self) -> RegistryCredentials:
        has_login = bool(self.username) or bool(self.password)
        if self.identity_token and has_login:
            raise ValueError("an identity token excludes user name and password: give the one or the other")
        if has_login and not (self.username and self.password):
            raise ValueError("user name and password belong together: give both, or neither for anonymous access")
        if self.client_key and not self.client_cert:
            raise ValueError("a client key is of use only with its certificate: give both")
        return self

    @classmethod
    def read(cls, data: dict[str, Any]) -> RegistryCredentials:
        """Return the block with the fields of a stored document. Raises ``ValueError`` with what is wrong."""
        try:
            return cls.model_validate({key: value for key, value in data.items() if value not in ("", None)})
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
        messages = [": ".join([*map(str, each["loc"]), each["msg"].removeprefix("Value error, ")]) for each in errors]
        raise ValueError("; ".join(messages))

    def access(self) -> RegistryAccess:
        """Return what the engine takes."""
        return RegistryAccess(
            username=SecretStr(self.username) if self.username else None,
            password=self.password,
            identity_token=self.identity_token,
            insecure=self.insecure,
            ca_file=Path(self.ca_file) if self.ca_file else None,
            client_cert=Path(self.client_cert) if self.client_cert else None,
            client_key=Path(self.client_key) if self.client_key else None,
            proxy=self.proxy,
        )


class ImageferryConfiguration(Block):
    """A configuration that is kept in Prefect. A run takes its name in place of a file's path."""

    model_config: ClassVar[ConfigDict] = _DISCREET

    _block_type_name = "Imageferry Configuration"
    _block_type_slug = "imageferry-configuration"
    _description = (
        "What is copied where: a configuration with auth, defaults and images, as YAML or JSON. "
        "The parameter config of a run takes the name of this block."
    )

    text: str = Field(
        title="Configuration",
        description=(
            "YAML or JSON, as in a file. Name Registry Credentials blocks instead of writing passwords: "
            "auth: {docker.io: {credentials: my-hub}}"
        ),
        examples=["images:\n  quay.io/coreos/etcd:v3.2: registry.example/mirror/etcd\n"],
        min_length=1,
    )

    @field_validator("text")
    @classmethod
    def _check(cls, text: str) -> str:
        # Values of the environment, files and credentials belong to the machine of the run: they are looked for there.
        try:
            load_text(text, "text", environment=UNKNOWN_ENVIRONMENT, credentials=NamedCredentials())
        except ConfigurationError as error:
            message = str(error)
        else:
            return text
        raise ValueError(message)
