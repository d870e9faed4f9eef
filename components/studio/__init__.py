"""A page on this machine: drop a photo, compare what the model makes of it, choose, and take it away."""
