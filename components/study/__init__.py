"""Blinded comparisons of restorations by people: made, served, and counted."""
