"""What a decoder's process may be made to do by a hostile file; asked for by name, in that process."""

import os
import signal
import sys
import time

import numpy as np
from numpy.typing import NDArray

from components.photos.answers import NOTHING, Answer

Photo = NDArray[np.uint8]


def environment(data: bytes, photo: Photo) -> Answer:
    return {"names": sorted(os.environ), "values": " ".join(os.environ.values())}, NOTHING


def spin(data: bytes, photo: Photo) -> Answer:
    while True:
        pass


def sleep(data: bytes, photo: Photo) -> Answer:
    time.sleep(600)
    return {}, NOTHING


def fall(data: bytes, photo: Photo) -> Answer:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}, NOTHING


def die(data: bytes, photo: Photo) -> Answer:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}, NOTHING


def fill(data: bytes, photo: Photo) -> Answer:
    kept = [np.ones(2**24, np.uint8) for _ in range(1000)]
    return {"bytes": len(kept)}, NOTHING


def chatter(data: bytes, photo: Photo) -> Answer:
    """A library that prints, and one that writes past Python."""
    print("hello" * 1000)
    os.write(1, b"x" * 100_000)
    os.write(2, b"x" * 100_000)
    sys.stdout.flush()
    return {"said": True}, NOTHING


def open_file(data: bytes, photo: Photo, path: str) -> Answer:
    try:
        with open(path, "rb") as file:
            return {"read": len(file.read(10))}, NOTHING
    except OSError as error:
        return {"refused": type(error).__name__}, NOTHING
