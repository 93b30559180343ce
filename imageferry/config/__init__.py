"""The configuration of a run: read, checked, and told all faults of at once."""

from imageferry.config.credentials import CredentialsError, NamedCredentials, StoredCredentials
from imageferry.config.docker import CredentialHelperError, DockerCredentials
from imageferry.config.environment import ELSEWHERE
from imageferry.config.faults import ConfigurationError, Fault
from imageferry.config.loading import Files, find_files, load, load_text
from imageferry.config.models import OTHERS, Access, Configuration, Destination, Limits, RegistrySettings, Rule, Source

__all__ = [
    "ELSEWHERE",
    "OTHERS",
    "Access",
    "Configuration",
    "ConfigurationError",
    "CredentialHelperError",
    "CredentialsError",
    "Destination",
    "DockerCredentials",
    "Fault",
    "Files",
    "Limits",
    "NamedCredentials",
    "RegistrySettings",
    "Rule",
    "Source",
    "StoredCredentials",
    "find_files",
    "load",
    "load_text",
]
