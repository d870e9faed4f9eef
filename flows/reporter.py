"""Who is told how work is doing."""

from typing import Protocol


class Reporter(Protocol):
    """Told how work is doing; a flow passes it on to Prefect."""

    def info(self, message: str, *arguments: object) -> None: ...

    def warning(self, message: str, *arguments: object) -> None: ...
