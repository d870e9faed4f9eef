"""Folders that only this process's user may enter."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from components.storage.temporary import hold


def private_folder() -> Path:
    """A new folder that only this user may enter; removed when this process ends, or by the next if it was killed."""
    folder, _ = hold("dp2o-model-", Path(tempfile.gettempdir()))  # with mode 0700; its handle stays open
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child ends earlier than its parent needs the files
        shutil.rmtree(folder, ignore_errors=True)
