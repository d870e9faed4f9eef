"""A content-addressed store in the layout of a DVC remote, with this project's own documents beside the objects.

    <url>/files/md5/ab/cdef…        objects, as `dvc push` writes and `dvc pull` reads them
    <url>/dp2o/<key>                documents: tasks, results, logs, and the shared copy of `run.cache`

`url` is a folder (`file:///…`) or anything fsspec knows, `s3://bucket/prefix` first of all; credentials and endpoint
come from the usual AWS_* variables.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from components.errors import BadInput, CorruptInput, ResumeLater
from components.storage.places import md5_name, problem
from components.storage.publish import atomic_file

logger = logging.getLogger("dp2o.store")

Result = TypeVar("Result")

OWN, CORRUPT = "dp2o", "dp2o/corrupt"
BLOCK = 4 * 2**20
PATIENCE = 300.0
"""Seconds for which a store that is away is asked again; DP2O_STORE_PATIENCE sets another."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0


@dataclass(frozen=True)
class Content:
    """What a file holds: md5 as DVC counts it, and size in bytes.

    Attributes:
        sha256: beside it, empty where nobody said it. Whoever fetches compares both.
    """

    md5: str
    size: int
    sha256: str = field(default="", compare=False)


def md5_of(path: Path) -> Content:
    """Content of a file, md5 and sha256, read once and in blocks."""
    md5, sha256, size = _md5(), hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            md5.update(block)
            sha256.update(block)
            size += len(block)
    return Content(md5.hexdigest(), size, sha256.hexdigest())


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)  # DVC's name for contents, not a protection


class Store:
    """Objects by md5 and documents by key.

    A store that is away is asked again with growing pauses, for as long as `patience` seconds.

    Attributes:
        fetched, kept: bytes that came from the store and went to it.

    Raises:
        BadInput: the URL is of no known kind, or the store refuses the credentials.
        ResumeLater: the store stays away.
    """

    def __init__(self, url: str, patience: float | None = None) -> None:
        import fsspec  # noqa: PLC0415  # with s3fs it takes most of a second, and most commands need no store

        self.url = url.rstrip("/")
        self.fetched = self.kept = 0
        self._patience = float(os.environ.get("DP2O_STORE_PATIENCE", PATIENCE)) if patience is None else patience
        options: dict[str, Any] = {}
        if self.url.startswith("s3://"):
            # Asked again here, in one place; botocore's own attempts would multiply with ours.
            config = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2, "mode": "standard"}}
            options = {"config_kwargs": config, "use_listings_cache": False, "skip_instance_cache": True}
        try:
            self._fs, base = fsspec.core.url_to_fs(self.url, **options)
        except (ValueError, ImportError) as error:
            raise BadInput(f"store {url}: {error}; use file:///folder or s3://bucket/prefix") from error
        self._base = str(base).rstrip("/")
        self._local = self.url.startswith("file://") or "://" not in self.url

    # ---- objects

    def has(self, content: Content) -> bool:
        """Whether the object is there, in its full size."""
        return self._size(self.object_path(content.md5)) == content.size

    def exists(self, md5: str) -> bool:
        """Whether there is an object of that name, whatever its size."""
        return self._size(self.object_path(md5)) is not None

    def keep(self, path: Path) -> Content:
        """Put a file, unless it is there."""
        content = md5_of(path)
        if not self.has(content):
            self._put(path, self.object_path(content.md5))
            self.kept += content.size
        return content

    def keep_bytes(self, value: bytes, suffix: str = "") -> Content:
        """Put `value` under its md5 and `suffix`; DVC's listings of folders have the suffix `.dir`."""
        digest = _md5()
        digest.update(value)
        content = Content(digest.hexdigest() + suffix, len(value), hashlib.sha256(value).hexdigest())
        if not self.has(content):
            self._write(self.object_path(content.md5), value)
            self.kept += content.size
        return content

    def fetch(self, content: Content, path: Path) -> None:
        """Bring an object to `path`, atomically.

        Raises:
            CorruptInput: it is not there, or is not what its name says; what was there is moved below `dp2o/corrupt`,
                so that it can be looked at, and made again.
        """
        source = self.object_path(content.md5)
        with atomic_file(path) as temporary:
            try:
                self._with_retries(lambda: self._fs.get_file(source, str(temporary)))
            except FileNotFoundError as error:
                raise CorruptInput(f"object {content.md5} ({path.name}) is not in {self.url}") from error
            found = md5_of(temporary)
            if found.md5 != content.md5.removesuffix(".dir") or content.sha256 not in ("", found.sha256):
                self._set_aside(source, content.md5)
                what = f"md5 {found.md5}, sha256 {found.sha256[:12]}; wanted was {content.sha256[:12] or 'its md5'}"
                raise CorruptInput(
                    f"object {content.md5} ({path.name}) in {self.url} holds something else, {found.size} bytes "
                    f"with {what}: moved to {CORRUPT}/{content.md5}"
                )
            self.fetched += found.size

    def read_object(self, md5: str, sha256: str = "") -> bytes:
        """A small object, whole; a folder's listing for example.

        Raises:
            CorruptInput: as `fetch`.
        """
        source = self.object_path(md5)
        try:
            value: bytes = self._with_retries(lambda: self._fs.cat_file(source))
        except FileNotFoundError as error:
            raise CorruptInput(f"object {md5} is not in {self.url}") from error
        digest = _md5()
        digest.update(value)
        if digest.hexdigest() != md5.removesuffix(".dir") or sha256 not in ("", hashlib.sha256(value).hexdigest()):
            self._set_aside(source, md5)
            raise CorruptInput(f"object {md5} in {self.url} holds something else: moved to {CORRUPT}/{md5}")
        self.fetched += len(value)
        return value

    def object_path(self, md5: str) -> str:
        """Where fsspec finds an object.

        Raises:
            BadInput: what is asked for is no md5: a document names a place outside.
        """
        try:
            md5_name(md5)
        except ValueError as error:
            raise BadInput(f"store {self.url}: {error}; find out who wrote the document that names it") from error
        return f"{self._base}/files/md5/{md5[:2]}/{md5[2:]}"

    # ---- documents

    def read(self, key: str) -> dict[str, Any] | None:
        """A JSON document, None where there is none; a damaged one counts as none."""
        try:
            content: bytes = self._with_retries(lambda: self._fs.cat_file(self._own(key)))
        except FileNotFoundError:
            return None
        try:
            value: dict[str, Any] = json.loads(content)
            if not isinstance(value, dict):
                raise ValueError("it is no object")
        except ValueError:
            logger.warning("%s/%s/%s is damaged and counts as absent", self.url, OWN, key)
            return None
        return value

    def write(self, key: str, value: dict[str, Any]) -> str:
        """Put a JSON document; its URL."""
        self._write(self._own(key), (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())
        return f"{self.url}/{OWN}/{key}"

    def fetch_file(self, key: str, path: Path) -> bool:
        """Bring a document's bytes to `path`; False where there is none."""
        try:
            with atomic_file(path) as temporary:
                self._with_retries(lambda: self._fs.get_file(self._own(key), str(temporary)))
                self.fetched += temporary.stat().st_size
        except FileNotFoundError:
            return False
        return True

    def keep_file(self, key: str, path: Path) -> None:
        """Put a file under a key, over what was there."""
        self._put(path, self._own(key))
        self.kept += path.stat().st_size

    def names(self, key: str) -> list[str]:
        """Names right below a key, sorted."""
        try:
            listed: list[str] = self._with_retries(lambda: self._fs.ls(self._own(key), detail=False))
        except FileNotFoundError:
            return []
        return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in listed)

    def remove(self, key: str) -> None:
        """Remove a document, or all below a key; nothing happens where there is none."""
        with suppress(FileNotFoundError):
            if self._local:
                self._with_retries(lambda: self._fs.rm(self._own(key), recursive=True))
                return
            for path in self._with_retries(lambda: self._fs.find(self._own(key))):
                self._remove_object(path)

    # ---- below

    def _own(self, key: str) -> str:
        if wrong := problem(key):
            raise BadInput(f"store {self.url}: the key {key!r} {wrong}")
        return f"{self._base}/{OWN}/{key}"

    def _size(self, path: str) -> int | None:
        try:
            return int(self._with_retries(lambda: self._fs.info(path))["size"])
        except FileNotFoundError:
            return None

    def _put(self, path: Path, target: str) -> None:
        if self._local:
            with atomic_file(Path(target)) as temporary:
                shutil.copyfile(path, temporary)
        else:
            self._with_retries(lambda: self._fs.put_file(str(path), target))

    def _write(self, target: str, value: bytes) -> None:
        if self._local:
            with atomic_file(Path(target)) as temporary:
                temporary.write_bytes(value)
        else:
            self._with_retries(lambda: self._fs.pipe_file(target, value))

    def set_aside(self, md5: str) -> None:
        """Move an object below `dp2o/corrupt`: it is what its name says, and not what was recorded."""
        self._set_aside(self.object_path(md5), md5)

    def _set_aside(self, source: str, md5: str) -> None:
        target = f"{self._base}/{CORRUPT}/{md5}"
        with suppress(FileNotFoundError):
            if self._local:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                self._with_retries(lambda: self._fs.mv(source, target))
            else:
                self._with_retries(lambda: self._fs.cp_file(source, target))
                self._remove_object(source)

    def _remove_object(self, path: str) -> None:
        """One by one: Ceph 16 refuses to delete in bulk to who may delete some objects of a bucket only."""
        self._with_retries(lambda: self._fs.rm_file(path))

    def _with_retries(self, call: Callable[[], Result]) -> Result:
        """`call`, again and again while the store is away."""
        give_up, pause = time.monotonic() + self._patience, FIRST_PAUSE
        while True:
            try:
                return call()
            except FileNotFoundError:
                raise
            except PermissionError as error:
                raise BadInput(f"store {self.url} refuses: {error}; check AWS_ACCESS_KEY_ID and its rights") from error
            except Exception as error:
                if not _passes_by(error):
                    raise
                if time.monotonic() + pause > give_up:
                    raise ResumeLater(f"store {self.url} cannot be reached: {error}; run the same again") from error
                logger.warning("store %s: %s; again in %.1f s", self.url, error, pause)
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)


def _passes_by(error: Exception) -> bool:
    """Failures of the network or of the server's side."""
    if type(error).__module__.startswith(("botocore.", "aiohttp.")):
        # A missing credential or a malformed request stays as it is.
        return not any(name in type(error).__name__ for name in ("Credential", "Validation", "ParamValidation"))
    if isinstance(error, OSError):
        return error.errno not in (28, 30, 36)  # disk full, read-only file system, name too long: here, not there
    return isinstance(error, TimeoutError)
