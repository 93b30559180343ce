"""The configuration of a run: read, checked, and every fault of it reported at once."""

from imageferry.config.diagnostics import ConfigurationError, Diagnostic
from imageferry.config.environment import UNKNOWN_ENVIRONMENT
from imageferry.config.loading import Files, find_files, load, load_text

__all__ = ["UNKNOWN_ENVIRONMENT", "ConfigurationError", "Diagnostic", "Files", "find_files", "load", "load_text"]
