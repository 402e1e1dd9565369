"""Captions are written by models, taggers and file names, and changed by the dozen; who wrote which is remembered."""
