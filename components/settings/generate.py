"""Block `generate`: candidates of each LR image."""

from typing import Annotated, Literal

from pydantic import Field

from components.settings.block import Block, Count


class GenerateSettings(Block):
    candidates: Annotated[int, Field(ge=2, le=64)]
    batch: Count
    shards: Count
    splits: list[Literal["align", "validation", "test"]]
