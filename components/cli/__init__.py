"""`dp2o`: all that people type, a file a group of commands. Heavy imports stay inside the commands, so that help and
completion are quick."""

from components.cli.app import main

__all__ = ["main"]
