"""Copies container images straight from registry to registry: the engine, which knows no orchestrator."""

__version__ = "0.1.0"
