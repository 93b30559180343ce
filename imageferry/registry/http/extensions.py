"""The extensions of an ``httpx.Request`` by which the layers of this client speak to each other; none is sent."""

# The scopes a bearer token needs for it, ``("repository:a/b:pull", …)``: set by RegistryClient, read by RegistryAuth.
SCOPES = "imageferry.scopes"

# Bytes up to which the transport reads the answer, so that one which breaks off is retried: read by RetryTransport.
BODY_LIMIT = "imageferry.body-limit"

# True: sent once, whatever the answer: read by RetryTransport.
NO_RETRY = "imageferry.no-retry"

# The only origin it may be posted to, since its body holds a secret: set by RegistryAuth, read by RegistryClient.
PINNED_ORIGIN = "imageferry.pinned-origin"
