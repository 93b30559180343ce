"""The configuration of a run: read, checked, and told all faults of at once."""

from imageferry.config.docker import CredentialHelperError, DockerCredentials
from imageferry.config.faults import ConfigurationError, Fault
from imageferry.config.loading import Files, find_files, load, load_text
from imageferry.config.models import Access, Configuration, Destination, Limits, Rule, Source

__all__ = [
    "Access",
    "Configuration",
    "ConfigurationError",
    "CredentialHelperError",
    "Destination",
    "DockerCredentials",
    "Fault",
    "Files",
    "Limits",
    "Rule",
    "Source",
    "find_files",
    "load",
    "load_text",
]
