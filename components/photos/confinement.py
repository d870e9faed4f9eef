"""What a decoder's process may still do once it is ready: nothing of what a decoder does not need.

A picture that takes its decoder over has the rights of our user: without this it reads the environment of every process
of that user from /proc, with their credentials, files of keys, and the network. Linux has Landlock since 5.13, a
process' own, irrevocable list of what it may open, for which no rights are needed
(https://docs.kernel.org/userspace-api/landlock.html). Who is confined cannot look into processes that are not, either.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every architecture
_ASK_VERSION, _PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_SET_DUMPABLE, _SET_NO_NEW_PRIVS = 4, 38

_FILE_RIGHTS = ((1, 13), (2, 14), (3, 15), (5, 16))
"""Version of Landlock, and how many rights on files it knows: what is not known cannot be taken away."""
_NETWORK_SINCE, _TCP = 4, 0b11  # bind, connect
_SCOPES_SINCE, _SCOPES = 6, 0b11  # abstract sockets of others, signals to others

LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache")
"""What the dynamic loader reads when a module is imported late."""


def confine(readable: Iterable[Path | str]) -> bool:
    """Let this process read what is at or below `readable`, and open, execute, write or connect to nothing else.

    What is open stays open. It holds for the thread that calls it and those that it starts: call it before there are
    others. False where the system has no such thing, or does not let us.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)
    if version < 1:
        return False
    ruleset = _ruleset(libc, version)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(libc, ruleset, path)
        done = libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
        return bool(done)
    finally:
        os.close(ruleset)


def _ruleset(libc: ctypes.CDLL, version: int) -> int:
    """A new one that takes away all that this version knows; negative if there is none."""
    rights = max(count for since, count in _FILE_RIGHTS if since <= version)
    attributes = struct.pack("=Q", (1 << rights) - 1)
    if version >= _NETWORK_SINCE:
        attributes += struct.pack("=Q", _TCP)
    if version >= _SCOPES_SINCE:
        attributes += struct.pack("=Q", _SCOPES)
    return int(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path | str) -> None:
    """Reading of a file, or of all below a folder; of what is not there, nothing."""
    with suppress(OSError):
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = _READ_FILE | (_READ_DIR if Path(path).is_dir() else 0)
            libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, opened), 0)
        finally:
            os.close(opened)


def hide() -> None:
    """Keep other processes of this user from reading this one's memory and environment, where Linux can.

    It also ends core dumps and debuggers of the same user. It is for those whose decoders are not confined.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
