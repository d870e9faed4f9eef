"""Objects of DVC's cache and remote, and of the store: files by their md5, and listings of folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components.cleaning.inventory import Entry
from components.cleaning.places import ObjectPlace
from components.cleaning.world import Named, World, md5_name


@dataclass
class Objects(Named):
    """Of one kind of place: this machine's, or those that machines share."""

    world: World
    name: str
    shared: bool

    def entries(self) -> Iterator[Entry]:
        """Each object; a listing refers to its files."""
        for place in self._places():
            for md5, file in place.objects():
                yield Entry(
                    self.name,
                    f"{place.base}|{md5}|{file.path}",
                    f"{place.name}: {'listings of folders' if md5.endswith('.dir') else 'files'}",
                    "no branch, tag, model version or result names it",
                    file.changed,
                    names=frozenset({md5_name(md5)}),
                    refers=self.world.listing(md5) if md5.endswith(".dir") else frozenset(),
                    size=file.size,
                )

    def remove(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """One after the other; DVC's index of the remote goes first, since it would say that they are there."""
        by_base = {place.base: place for place in self._places()}
        for base in {entry.key.split("|")[0] for entry in entries}:
            if by_base[base].index is not None:
                by_base[base].index.clear()
        for entry in entries:
            base, _, path = entry.key.split("|")
            by_base[base].remove(path)
            yield entry

    def _places(self) -> list[ObjectPlace]:
        return [place for place in self.world.places if place.shared == self.shared]
