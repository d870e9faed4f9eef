"""Prefect flows: where and when the components run. Nothing here imports torch, and no component knows of it."""
