"""Files → examples, and what is wrong with them."""
