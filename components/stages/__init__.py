"""Which stages there are, and what a module has to offer to be one."""

from pathlib import Path
from typing import Literal, Protocol

from components.artifacts.shards import Shard
from components.settings import Settings

STAGES = {
    "prepare": "photos to LR/HR pairs, split by photo",
    "generate": "M candidates of each LR from the frozen reference",
    "score": "IQA metrics of each candidate, and its reward",
    "pair": "winners and losers of each group, with hierarchical weights",
    "train": "preference optimisation of the policy",
    "evaluate": "base against aligned on the test split",
    "report": "one self-contained HTML page of it all",
    "register": "log the run and register the model version",
}
"""Stages in their order, each with what it does."""

OPERATIONS = {
    "intake": "new LR images from S3 into data/incoming, what cannot be used into quarantine",
    "drift": "new LR images against the training set: train again or not",
    "champion": "the champion's weights into models/champion",
}
"""What runs as stages do, but is none of the pipeline's: what they find is outside of it."""

IN_PARTS = ("generate", "score")
"""Stages that are StageInParts."""

Action = Literal["run", "publish", "gather"]
"""`publish` makes one part and publishes it, `gather` joins the published parts; `run` does all at once, or, of a part,
what goes into the cache."""


class Stage(Protocol):
    """A module `components.<stage>.stage`."""

    def run(self, settings: Settings, root: Path, shard: Shard | None) -> None: ...


class StageInParts(Stage, Protocol):
    """A stage whose parts are published one by one, each where it was made."""

    def publish_part(self, settings: Settings, root: Path, shard: Shard) -> None: ...

    def gather(self, settings: Settings, root: Path) -> None: ...
