"""Tests of the flows and of the command line, against a real Prefect server."""
