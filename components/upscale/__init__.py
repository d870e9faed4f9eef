"""Restore one picture of any size with a saved model."""
