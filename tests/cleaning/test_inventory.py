"""What is free, on whatever graph: never what is referred to, all of the rest, and in an order that can be cut off."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from components.cleaning.inventory import Entry, Root, free

OLD, RECENT, LIMIT = 1.0, 9.0, 5.0
GRAPHS = 400


def entry(key: str, names: Iterable[str] = (), refers: Iterable[str] = (), **others: object) -> Entry:
    fields = {"changed": OLD} | others
    return Entry("kind", key, "group", "why", names=frozenset(names), refers=frozenset(refers), **fields)  # type: ignore[arg-type]


def drawn(seed: int) -> tuple[list[Entry], list[Root]]:
    """A graph without cycles: copies of things, things that need several, that are young, that stay."""
    chance = random.Random(seed)
    count = chance.randint(0, 14)
    names = [f"n{number}" for number in range(count)]
    entries = []
    for place in range(count):
        later = names[place + 1 :]
        needs = chance.sample(names, chance.randint(0, min(2, count))) if chance.random() < 0.3 else ()
        one = entry(
            f"e{place}",
            {names[place]},
            chance.sample(later, chance.randint(0, min(3, len(later)))),
            all_of=frozenset(needs),
            changed=RECENT if chance.random() < 0.1 else OLD,
            stays="it must" if chance.random() < 0.1 else "",
        )
        entries.append(one)
        if chance.random() < 0.2:  # the same in another store
            entries.append(replace(one, key=f"copy of {one.key}", changed=OLD, stays=""))
    chance.shuffle(entries)
    roots = [Root("root", frozenset(chance.sample(names, chance.randint(0, min(3, count))))) for _ in range(2)]
    return entries, roots


def kept_by_definition(entries: Sequence[Entry], roots: Sequence[Root]) -> set[str]:
    """The same as the code should find, by going round until nothing changes."""
    marked = {name for root in roots for name in root.refers}
    kept: set[str] = set()
    while True:
        more = {
            one.key
            for one in entries
            if one.stays or one.changed > LIMIT or one.names & marked or (one.all_of and one.all_of <= marked)
        }
        named = marked | {name for one in entries if one.key in more for name in one.refers}
        if (more, named) == (kept, marked):
            return kept
        kept, marked = more, named


def test_never_what_is_referred_to_and_all_of_the_rest() -> None:
    sizes = set()
    for seed in range(GRAPHS):
        entries, roots = drawn(seed)
        kept = kept_by_definition(entries, roots)
        gone = {one.key for one in free(entries, roots, LIMIT)}
        assert gone == {one.key for one in entries} - kept, seed
        sizes.add((bool(gone), bool(kept)))
    assert (True, True) in sizes


def test_cut_off_anywhere_nothing_that_is_left_refers_to_what_is_gone() -> None:
    checked = 0
    for seed in range(GRAPHS):
        entries, roots = drawn(seed)
        order = free(entries, roots, LIMIT)
        for cut in range(len(order) + 1):
            gone = {one.key for one in order[:cut]}
            for one in entries:
                if one.key in gone:
                    continue
                lost = {other.key for other in entries if other.names & one.refers and other.key in gone}
                assert not lost, (seed, cut)
                checked += len(one.refers)
            left = [one for one in entries if one.key not in gone]
            assert {one.key for one in free(left, roots, LIMIT)} == {one.key for one in order[cut:]}, (seed, cut)
    assert checked > GRAPHS


def test_what_is_young_keeps_what_it_names() -> None:
    result, made = entry("result", refers={"md5:a"}, changed=RECENT), entry("object", {"md5:a"})
    assert free([result, made], [], LIMIT) == []
    assert free([entry("result", refers={"md5:a"}), made], [], LIMIT)[0].key == "result"


@pytest.mark.parametrize(("marked", "stays"), [({"a"}, False), ({"a", "b"}, True)])
def test_a_result_stays_only_if_all_that_it_made_does(marked: set[str], stays: bool) -> None:
    result = entry("result", refers={"rows"}, all_of=frozenset({"a", "b"}))
    rows = entry("rows", {"rows"})
    gone = {one.key for one in free([result, rows], [Root("lock", frozenset(marked))], LIMIT)}
    assert gone == (set() if stays else {"result", "rows"})
