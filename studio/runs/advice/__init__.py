"""Settings for some pictures, a base model and a machine, with reasons, and with what earlier runs taught."""
