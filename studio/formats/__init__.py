"""The model and LoRA files of the world around: what is in them, is it safe, who can read it."""
