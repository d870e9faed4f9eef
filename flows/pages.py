"""What a run shows on Prefect's pages, without secrets: the one place where artifacts are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from components.redaction import redact_values, redacted


def show(key: str, markdown: str, description: str) -> None:
    """A page of text; its history is in Prefect's page of the key."""
    create_markdown_artifact(redacted(markdown), key=key, description=redacted(description))


def show_table(key: str, rows: Sequence[Mapping[str, str]], description: str | None = None) -> None:
    """A table, a mapping a row."""
    table = [dict(row) for row in redact_values(list(rows))]
    create_table_artifact(key=key, table=table, description=description)
