"""Text data: files of conversations and plain texts, the dataset that they become, and its report."""
