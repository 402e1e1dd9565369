"""Tests of studio/formats."""
