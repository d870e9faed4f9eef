"""A study of candidates: pairs of the same LR group, whose winners the pair builder `votes` trains on."""

from collections import defaultdict
from pathlib import Path

from components.artifacts import paths, tables
from components.artifacts.shards import ShardFolder, decode_png
from components.errors import BadInput
from components.judge.images import ImageFolder
from components.settings import Settings
from components.storage.publish import atomic_folder
from components.study import manifest as frozen
from components.study.choosing import checks_wanted, spread, two_of
from components.study.making import Design, check_of, finished, free_folder
from components.study.manifest import Comparison, Manifest, Model
from components.study.pictures import Pictures

SPLIT = "align"


def new_of_candidates(settings: Settings, root: Path, design: Design, per_group: int) -> Manifest:
    """Make studies/<name> of candidates of the align split.

    Args:
        per_group: pairs of each group; as many groups as make `design.pairs`.

    Raises:
        BadInput: the study is there, or candidates are missing.
    """
    folder = free_folder(root, design.name)
    used = settings.pair.candidates or settings.generate.candidates
    groups: dict[str, dict[int, tables.Row]] = defaultdict(dict)
    for row in tables.read_rows(root / paths.CANDIDATE_ROWS, tables.CANDIDATES):
        if row["split"] == SPLIT and row["index"] < used:
            groups[row["lr_id"]][row["index"]] = row
    rows = [row for row in tables.read_rows(root / paths.DATASET_ROWS, tables.DATASET) if row["lr_id"] in groups]
    if not rows:
        raise BadInput(f"{root / paths.CANDIDATE_ROWS} has no candidate of the {SPLIT} split: run generate first")
    with atomic_folder(folder) as new:
        manifest = _made(root, design, spread(rows, design.seed), groups, per_group, Pictures(new))
        frozen.write(new, manifest)
    return manifest


def _made(
    root: Path,
    design: Design,
    rows: list[tables.Row],
    groups: dict[str, dict[int, tables.Row]],
    per_group: int,
    pictures: Pictures,
) -> Manifest:
    folder, shards, scores = ImageFolder(root), ShardFolder(root / paths.CANDIDATES), _scores(root)
    comparisons: list[Comparison] = []
    used: list[tables.Row] = []
    for row in rows:
        if design.pairs and len(comparisons) >= design.pairs:
            break
        lr_id, members = str(row["lr_id"]), groups[row["lr_id"]]
        lr, _ = pictures.add_pixels(folder.read(row).lr)
        found = []
        for both in two_of(list(members), per_group, lr_id, design.seed):
            first, second = (
                pictures.side(
                    shards[members[index]["shard"]].read(f"{lr_id}.{index:03d}.png"),
                    "candidate",
                    index,
                    scores.get((lr_id, index), {}),
                )
                for index in both
            )
            if first.pixels != second.pixels:
                found.append(Comparison(id="", lr_id=lr_id, photo=row["source"], lr=lr, first=first, second=second))
        comparisons += found
        used += [row] if found else []
    if not comparisons:
        raise BadInput("no group has two candidates that differ: raise generate.candidates")
    comparisons = comparisons[: design.pairs or None]
    checks = []
    for row in used[: checks_wanted(len(comparisons), design.checks)]:
        image, members = folder.read(row), groups[row["lr_id"]]
        index = min(members)
        shown = image.hr
        if shown is None:
            shown = decode_png(shards[members[index]["shard"]].read(f"{image.lr_id}.{index:03d}.png"))
        name = "candidate" if image.hr is None else "HR"
        checks.append(check_of(pictures, image.lr_id, image.photo, image.lr, shown, name))
    made_by = sorted({str(members[min(members)]["model_digest"]) for members in groups.values()})
    model = Model(name="candidate", weights=made_by[0], restorer=made_by[0])
    facts = [("images", f"candidates of the {SPLIT} split, {per_group} pairs a group at most, drawn at random")]
    return finished(design, "candidates", [*comparisons, *checks], [model], pictures, facts)


def _scores(root: Path) -> dict[tuple[str, int], dict[str, float]]:
    """What is known of candidates, by lr_id and index; nothing where they have not been scored."""
    path = root / paths.SCORES
    if not path.is_file():
        return {}
    columns, rows = tables.read_any(path)
    names = [name for name in columns if name not in {"lr_id", "index", "split"}]
    return {
        (row["lr_id"], row["index"]): {name: float(row[name]) for name in names if row[name] is not None}
        for row in rows
    }
