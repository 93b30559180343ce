"""The configuration of a run: read and checked, with every error in it reported at once."""

from imageferry.config.diagnostics import ConfigurationError, Diagnostic
from imageferry.config.environment import UNKNOWN_ENVIRONMENT
from imageferry.config.files import DEFAULT_FILE_NAMES, Files, find_files
from imageferry.config.loading import load, load_text

__all__ = [
    "DEFAULT_FILE_NAMES",
    "UNKNOWN_ENVIRONMENT",
    "ConfigurationError",
    "Diagnostic",
    "Files",
    "find_files",
    "load",
    "load_text",
]
