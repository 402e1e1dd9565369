"""A family and its data → weights."""
