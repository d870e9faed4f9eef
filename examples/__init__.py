"""Families of backbones of one's own, worked: each file is what a user would write (docs/models.md)."""
