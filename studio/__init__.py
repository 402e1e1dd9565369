"""LoRA Studio: pictures in, a LoRA out."""

__version__ = "0.1.0"
