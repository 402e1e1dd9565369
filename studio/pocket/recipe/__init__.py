"""How the pocket model, its judge and its sample pictures were made, from icons to files. `studio.pocket.build` runs it."""
