"""The soak: whole copies between registries that fail at random, and copies that are killed on their way."""
