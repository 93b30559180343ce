"""Tests of whole copies, from a configuration to a report, without Prefect."""
