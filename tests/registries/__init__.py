"""The registries that the tests use: one in process that can misbehave, and the real docker/distribution."""
