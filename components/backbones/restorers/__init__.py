"""Frozen pretrained restorers, read from the files that packages ship."""
