"""Prompts of LR images: a fixed text, a manifest's column, or a captioner's words."""
