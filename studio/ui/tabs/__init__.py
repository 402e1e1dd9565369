"""One file a tab: what its script may ask, and what is answered."""
