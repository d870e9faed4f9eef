"""A picture file's content, never more of it than is allowed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from components.errors import BadInput
from components.photos.limits import check_size
from components.photos.unusable import Reason, UnusablePhotoError, printable


def read_content(path: Path, max_bytes: int) -> bytes:
    """Bytes of a file of 1 to `max_bytes`.

    Raises:
        UnusablePhotoError: it is empty or larger, which is known before it is read; or it is gone, or not ours to read.
        BadInput: its disk does not give it.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode):  # a pipe has no size
                check_size(status.st_size, max_bytes)
            data = file.read(max_bytes + 1)
    except (FileNotFoundError, PermissionError) as error:
        raise UnusablePhotoError(Reason.UNREADABLE, f"the file cannot be opened: {error.strerror}") from error
    except OSError as error:
        raise BadInput(f"{printable(str(path))} cannot be read: {error.strerror}") from error
    check_size(len(data), max_bytes)  # it grew meanwhile, or is a pipe
    return data
