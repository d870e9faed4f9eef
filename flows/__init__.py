"""Prefect flows: where and when the components run. Nothing here imports torch, and no component knows of it."""

from components import redaction

redaction.install()  # before Prefect's own handlers show what a flow says
