"""The extensions of an ``httpx.Request`` by which the layers of this client speak to each other; none is sent."""

# The scopes a bearer token needs for it, ``("repository:a/b:pull", …)``: set by RegistryClient, read by RegistryAuth.
SCOPES = "imageferry.scopes"

# Bytes up to which the transport reads the answer, so that one which breaks off is retried: read by RetryTransport.
BODY_LIMIT = "imageferry.body-limit"

# True: sent once, whatever the answer: read by RetryTransport.
NO_RETRY = "imageferry.no-retry"

# Of a request that writes: what it is for, its method and its address. No redirect makes another of it, nor takes it to
# another host (where that is None, it may). Set and read by RegistryClient.
WRITE = "imageferry.write"

# The only origin it may be posted to, since its body holds a secret: set by RegistryAuth, read by RegistryClient.
PINNED_ORIGIN = "imageferry.pinned-origin"
