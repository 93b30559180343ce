"""Tests of one registry as an object."""
