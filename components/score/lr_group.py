"""An LR image and its candidates, as rows of the tables."""

from dataclasses import dataclass

from components.artifacts.tables import Row


@dataclass(frozen=True)
class LRGroup:
    """An LR image's row of the dataset, and the rows of its candidates."""

    row: Row
    candidates: list[Row]

    @property
    def lr_id(self) -> str:
        """Of the LR."""
        return str(self.row["lr_id"])

    @property
    def has_hr(self) -> bool:
        """Whether there is an HR image."""
        return bool(self.row["has_hr"])

    @property
    def image_digests(self) -> list[str]:
        """Of the candidates, in their order."""
        return [candidate["image_digest"] for candidate in self.candidates]
