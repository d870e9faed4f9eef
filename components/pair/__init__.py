"""pair stage."""
