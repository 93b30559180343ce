"""The base of every error that a user, a configuration or a registry can cause."""

from __future__ import annotations


class ImageferryError(Exception):
    """What failed, where, why and what to do, in one text.

    Holds plain strings, and no request, response or credential: it can be logged, reported and pickled as it is.
    """

    # Whether a retry may succeed: after a time-out it may, after a refused password it cannot.
    transient: bool = False


class InvalidReference(ImageferryError, ValueError):
    """A text is not an image reference. Says which part is invalid and what was expected."""
