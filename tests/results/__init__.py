"""What a run is good for."""
