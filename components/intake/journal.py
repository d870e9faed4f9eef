"""Which objects are being examined, written before it is done: `examining.json` under the quarantine prefix.

It is in S3 since the machine that a file brings down may keep nothing. Where a run died, the next one knows of which
objects, and examines those alone; one that was alone when a run died is set aside. So no file ends more than two runs,
and none that was merely there is set aside because a node went away. What the dead run had set aside is known by its
records, and is not examined again.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from components.intake.listing import SourceObject
from components.storage.s3 import Client, Place, status_of

NAME = "examining.json"


class Journal:
    """Of one quarantine prefix; `dry` neither reads nor writes it."""

    def __init__(self, client: Client, quarantine: Place, dry: bool = False) -> None:
        self._client, self._quarantine, self._dry = client, quarantine, dry
        before = {} if dry else self._read()
        examined, alone = _names(before, "examining"), bool(before.get("alone"))
        self._condemned = _names(before, "condemned") | (examined if alone else set())
        self._suspects = (_names(before, "suspects") | examined) - self._condemned
        self._group: set[str] = set()
        self.interrupted = bool(before) and not before.get("finished", False)
        """True where the last run did not come to its end."""

    def is_condemned(self, found: SourceObject) -> bool:
        """A run died while it examined this object and no other."""
        return found.identity in self._condemned

    def is_suspect(self, found: SourceObject) -> bool:
        """A run died while it examined this object and others."""
        return found.identity in self._suspects

    def examining(self, group: Collection[SourceObject]) -> None:
        """Write down what is examined next; what was examined before that is done with.

        Args:
            group: a suspect comes alone.
        """
        self._done()
        self._group = {found.identity for found in group}
        names = self._group - self._condemned
        alone = len(group) == 1 and names <= self._suspects
        self._write({"examining": sorted(names), "alone": alone} | self._left())

    def finished(self) -> None:
        """Write down that the run came to its end. What it did not come to is remembered."""
        self._done()
        self._write({"examining": [], "finished": True} | self._left())

    def _done(self) -> None:
        self._condemned -= self._group
        self._suspects -= self._group

    def _left(self) -> dict[str, Any]:
        return {"suspects": sorted(self._suspects - self._group), "condemned": sorted(self._condemned)}

    def _read(self) -> dict[str, Any]:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        key = f"{self._quarantine.prefix}{NAME}"
        try:
            content = json.loads(self._client.get_object(Bucket=self._quarantine.bucket, Key=key)["Body"].read())
        except ClientError as error:
            if status_of(error) != 404:
                raise
            return {}
        except ValueError:
            return {}  # not ours, or damaged: the worst is that some objects are examined again
        return content if isinstance(content, dict) else {}

    def _write(self, content: dict[str, Any]) -> None:
        if not self._dry:
            self._client.put_object(
                Bucket=self._quarantine.bucket,
                Key=f"{self._quarantine.prefix}{NAME}",
                Body=(json.dumps(content, indent=2) + "\n").encode(),
                ContentType="application/json",
            )


def _names(content: dict[str, Any], field: str) -> set[str]:
    names = content.get(field)
    return {str(name) for name in names} if isinstance(names, list) else set()
