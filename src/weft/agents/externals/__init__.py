"""Policies that weft did not train, one kind per file."""
