"""Block `run`: where and how, never what."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from components.settings.block import Block
from components.settings.secret import PublicUrl
from components.storage.cache import CacheFolder
from components.storage.store import Store


class RunSettings(Block):
    device: str = "auto"
    cache: Path = Path("cache")
    shared_cache: PublicUrl = ""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    workers: Annotated[int, Field(ge=0, le=1024)] = 0

    def cache_folder(self, root: Path) -> CacheFolder:
        """The cache of the project in `root`.

        Raises:
            BadInput: shared_cache is no store's URL.
        """
        return CacheFolder(root / self.cache, Store(self.shared_cache) if self.shared_cache else None)
