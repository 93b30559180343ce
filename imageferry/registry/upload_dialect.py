"""How one registry wants its uploads: what a refusal has taught, so that each costs one request a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class UploadDialect:
    """The ways of one registry, as far as they are known; at first those of the distribution specification."""

    #: Bytes may come with the PUT that commits them (JFrog wants them in a PATCH before it).
    bytes_with_put: bool = True
    #: It takes PATCH; where it does not, a large blob is one streamed PUT.
    patch: bool = True
    #: A session that broke off can be gone on with (not at GAR, which refuses chunks).
    resumes: bool = True
    #: The fewest and the most bytes of one PATCH but the last; 0 where there is no such bound.
    least_chunk: int = 0
    most_chunk: int = 0
