"""A tour: two registries on this machine, and two runs between them. `make demo`."""
