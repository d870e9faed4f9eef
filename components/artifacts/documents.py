"""JSON documents of the contract: frozen models, each with one reader and one writer."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from components.errors import BadInput
from components.storage.publish import write_json


class Section(BaseModel):
    """An object in a document: what is in it cannot change, and nothing else may be in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Section):
    """A JSON file of the contract.

    Attributes:
        path: relative to the project's root.
        made_by: the stage that writes it.
        way_out: for who has a damaged one; by default to make it again.
    """

    path: ClassVar[Path]
    made_by: ClassVar[str]
    way_out: ClassVar[str] = ""

    @classmethod
    def read(cls, root: Path) -> Self:
        """The document of the project in `root`.

        Raises:
            BadInput: it is missing, damaged, or of another version of this code; names what is wrong in it.
        """
        path = root / cls.path
        if not path.is_file():
            raise BadInput(f"{path} does not exist: run {cls.made_by} first (`dvc repro` runs all in order)")
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            what = f"{place}: {first['msg']}" if place else first["msg"]
            way_out = cls.way_out or f"run {cls.made_by} again"
            raise BadInput(f"{path} is damaged, or of another version ({what}): {way_out}") from error
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({error})") from error

    @classmethod
    def read_if_there(cls, root: Path) -> Self | None:
        """The same, None where there is none."""
        return cls.read(root) if (root / cls.path).is_file() else None

    def write(self, root: Path) -> None:
        """Publish it; what is None is left out."""
        write_json(root / self.path, self.model_dump(mode="json", exclude_none=True))
