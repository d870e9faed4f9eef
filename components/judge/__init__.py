"""Restoring, scoring and comparing models on a fixed set of images: what the stages that judge models share."""
