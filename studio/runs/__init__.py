"""What is wanted, and what happened, on disk."""
