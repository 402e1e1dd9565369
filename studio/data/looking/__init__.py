"""What is found by looking at pictures: the same ones, nearly the same ones, blurred ones, marks, captions that don't fit."""
