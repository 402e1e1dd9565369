"""Tests of studio/families."""
