"""The root of every error that a user, a configuration or a registry can cause."""

from __future__ import annotations


class ImageferryError(Exception):
    """What failed, where, why and what to do, as one text made of plain strings.

    Holds no request, response or credential, so it can be logged, reported or pickled as it is.
    """

    #: Whether the same work, tried again, may succeed (a time-out may heal, a refused password does not).
    transient: bool = False


class InvalidReference(ImageferryError, ValueError):
    """A text is not an image reference. Says which part is wrong and what was expected."""
