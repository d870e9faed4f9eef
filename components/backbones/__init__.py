"""Diffusion and flow models behind one protocol; one file a family."""
