"""Where objects are (DVC's cache, its default remote, the store of flows), with our documents beside them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import BadInput, ResumeLater, UserError
from components.storage.store import OWN

STORE_VARIABLE = "DP2O_STORE"
_OBJECT = re.compile(r"/([0-9a-f]{2})/([0-9a-f]{30}(?:\.dir)?)$")


@dataclass(frozen=True)
class File:
    """One file of a place.

    Attributes:
        path: as the file system finds it.
        changed: when it was written, seconds since 1970.
    """

    path: str
    size: int
    changed: float


@dataclass(frozen=True)
class ObjectPlace:
    """A folder or prefix in the layout of a DVC remote.

    Attributes:
        name: for people.
        url: of the whole.
        base: the same as the file system knows it.
        shared: whether other machines use it.
        index: of DVC's, of what the remote has; None where there is none.
    """

    name: str
    url: str
    base: str
    files: Any
    shared: bool
    index: Any = None

    def objects(self) -> Iterator[tuple[str, File]]:
        """md5 and file of each object."""
        for file in self.below("files/md5"):
            if found := _OBJECT.search(file.path):
                yield found[1] + found[2], file

    def below(self, folder: str) -> list[File]:
        """All files below a folder of the place.

        Raises:
            ResumeLater, BadInput: it is away, or refuses.
        """
        with self.errors():
            listed = self.files.find(f"{self.base}/{folder}", detail=True)
        return [
            File(str(path), int(info.get("size") or 0), _changed(info))
            for path, info in listed.items()
            if info.get("type") == "file"
        ]

    def read(self, md5: str) -> bytes | None:
        """An object that is what its name says; None where there is none."""
        content = self.content(f"{self.base}/files/md5/{md5[:2]}/{md5[2:]}")
        return content if content is not None and _md5(content) == md5.removesuffix(".dir") else None

    def content(self, path: str) -> bytes | None:
        """Of a file; None where there is none."""
        with self.errors():
            try:
                found: bytes = self.files.cat_file(path)
            except FileNotFoundError:
                return None
        return found

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens where there is none."""
        with self.errors():
            try:
                self.files.rm_file(path)
            except FileNotFoundError:
                return

    def documents(self) -> str:
        """Where this project's own documents are, as the file system knows it."""
        return f"{self.base}/{OWN}"

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What the place says, as the user's."""
        try:
            yield
        except (UserError, FileNotFoundError):
            raise
        except PermissionError as error:
            raise BadInput(
                f"{self.name} {self.url} refuses: {error}; check the credentials and their rights"
            ) from error
        except Exception as error:
            if isinstance(error, OSError) or type(error).__module__.startswith(("botocore.", "aiohttp.")):
                raise ResumeLater(f"{self.name} {self.url} cannot be used now: {error}") from error
            raise


def places_of(root: Path, shared_cache: str = "") -> list[ObjectPlace]:
    """All places of the project in `root`; none twice.

    Args:
        shared_cache: URL of the store that has the shared copy of finished work; empty where there is none.

    Raises:
        BadInput: there is no DVC project, or a place is of an unknown kind.
    """
    from dvc.exceptions import DvcException  # noqa: PLC0415  # a second to import
    from dvc.repo import Repo  # noqa: PLC0415
    from dvc_data.hashfile.db import get_index  # noqa: PLC0415

    try:
        repo = Repo(str(root))
        local = Path(repo.cache.local.path).parents[1]
        found = [_place("DVC's cache", f"file://{local}", shared=False)]
        name = repo.config["core"].get("remote")
        if name:
            if endpoint := repo.config["remote"][name].get("endpointurl"):
                os.environ.setdefault("AWS_ENDPOINT_URL", endpoint)  # for documents, which are read beside the objects
            odb = repo.cloud.get_remote_odb(name, "gc", hash_name="md5")
            base = str(odb.path).removesuffix("/files/md5")
            url = str(repo.config["remote"][name]["url"])
            if odb.fs.protocol == "local":
                found.append(_place(f"remote {name}", f"file://{base}", shared=True, index=get_index(odb)))
            else:
                found.append(ObjectPlace(f"remote {name}", url.rstrip("/"), base, odb.fs.fs, True, get_index(odb)))
    except DvcException as error:
        raise BadInput(f"{root} cannot be read as a DVC project: {error}") from error
    for store_name, store in (("store", os.environ.get(STORE_VARIABLE, "")), ("shared cache", shared_cache)):
        if store:
            found.append(_place(store_name, store, shared=True))
    return list({place.base: place for place in reversed(found)}.values())[::-1]


def _place(name: str, url: str, shared: bool, index: Any = None) -> ObjectPlace:
    import fsspec  # noqa: PLC0415

    try:
        files, base = fsspec.core.url_to_fs(url.rstrip("/"), use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise BadInput(f"{name} {url}: {error}; use file:///folder or s3://bucket/prefix") from error
    return ObjectPlace(name, url.rstrip("/"), str(base).rstrip("/"), files, shared, index)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()  # DVC's name for contents


def _changed(info: dict[str, Any]) -> float:
    """When a file was written, as local file systems and S3 say it."""
    when = info.get("mtime", info.get("LastModified", info.get("last_modified", 0.0)))
    return float(when.timestamp()) if hasattr(when, "timestamp") else float(when)
