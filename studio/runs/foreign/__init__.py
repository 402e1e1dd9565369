"""Settings files of other trainers, read as presets, with what was taken, adapted and left out."""
