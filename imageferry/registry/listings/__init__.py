"""Which repositories a registry has: the APIs of registries that list them."""
