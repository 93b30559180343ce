"""The lasting ways of a registry, where those of the field differ."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class Quirks:
    """How a registry behaves all the time. The defaults keep to the specification."""

    # Manifests and tags
    check_references: bool = True
    """Refuse a manifest whose blobs or children are not there."""
    immutable_tags: bool = False
    """Refuse to put a tag that exists, even with the same digest (Harbor; ECR)."""
    digest_header: bool = True
    """Send Docker-Content-Digest."""
    manifest_head: int | None = None
    """Answer every HEAD of a manifest with this status, though GET works."""
    blob_head: int | None = None
    """Answer every HEAD of a blob with this status, though GET works."""
    rewrite_manifests: bool = False
    """Store each manifest written anew, under the digest that it has then."""
    unknown_name: int = 404
    """The status for a repository that does not exist: 404, 401, 403, 400 or 500."""
    create_on_push: bool = True
    """Make a repository when it is pushed to (not so at ECR); otherwise 404 NAME_UNKNOWN."""
    tags_null: bool = False
    """`"tags": null` where there are none."""
    page_size: int | None = None
    """The most tags on one page, whatever `n` asks for."""
    most_tags: int | None = None
    """Answer 400 to an `n` above this (1000 at ECR)."""
    link: Literal["relative", "absolute", "other-host", "other-scheme", "loop", "query-only"] = "relative"
    """What the Link to the next page looks like."""

    # Uploads
    mount: int = 201
    """The status for a mount; anything but 201 refuses it, and 202 opens a session."""
    post_with_digest: bool = True
    """Accept a whole blob with the POST; otherwise it opens a session."""
    location: Literal["absolute", "relative", "other-host"] = "absolute"
    """What the Location of an upload session looks like."""
    location_base: str = ""
    """With `other-host`: the URL of the one that takes the uploads (and shares this one's storage)."""
    state: bool = True
    """A `_state` in the Location's query that changes with every answer, and must be sent back."""
    patch_status: int = 202
    """The status for a PATCH: 202, or 201 or 204."""
    stale_range: bool = False
    """The Range of an upload is one request behind (ECR)."""
    refuse_chunks: int | None = None
    """Answer this status to a second PATCH, or to one with a Content-Range (GAR)."""
    refuse_patch: int | None = None
    """Answer this status to every PATCH: the blob has to come with the PUT."""
    patch_before_put: bool = False
    """Refuse a PUT with a body in a session without a PATCH (JFrog)."""
    least_chunk: int | None = None
    """Tell this as OCI-Chunk-Min-Length."""
    broken_patch: Literal["keep", "drop"] = "keep"
    """Whether a session lives on after a PATCH that broke (docker/distribution 2.8 drops it)."""
    idle_seconds: float | None = None
    """Close the connection where a body brings no byte for that long."""
    cancel_status: int = 204
    """The status for the cancelling of an upload; anything but 204 refuses it."""
    quota: int | None = None
    """The most bytes of blobs; above it 403 DENIED (Harbor)."""

    # Requests as a whole
    ranges: bool = True
    """Honour Range on blobs; otherwise the whole blob with 200."""
    refuse_ranges: int | None = None
    """Answer this status to a Range on blobs."""
    refuse_authorization: bool = False
    """Answer 400 to any request that carries Authorization, as object stores do."""
