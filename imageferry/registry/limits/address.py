"""Which requests ask for the same thing, so that one thing that always fails is not taken for the whole registry."""

from __future__ import annotations

import httpx

_UPLOADS = "/blobs/uploads/"


def address_of(request: httpx.Request) -> str:
    """Return what a request asks for: its method and path, and what its query adds to them.

    Upload sessions have an address each, so those of one repository count as one; a mount is no upload. A token server
    is asked for scopes, in the query. The signature in a blob store's query is different each time, and is left out.
    """
    path, method, query = request.url.path, request.method, request.url.params
    repository, uploads, _ = path.partition(_UPLOADS)
    if uploads:
        what = "mount" if "mount" in query else query.get("digest", "")
        return f"{method} {repository}{_UPLOADS}{what}"
    return " ".join((method, path, *query.get_list("scope")))
