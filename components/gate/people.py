"""What people said of challenger and champion, in a blinded study of the same weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.artifacts.gate_report import Check
from components.errors import BadInput
from components.settings.gate import GateSettings, StudyLimits
from components.storage import digests
from components.study import manifest as frozen
from components.study import votes as log
from components.study.manifest import Manifest, Which
from components.study.result import counting
from components.study.statistics import Share, share
from components.study.votes import Vote

ROW = "people's win rate"


@dataclass(frozen=True)
class Preference:
    """How often people preferred the challenger to the champion; `problem` says why that is not known."""

    found: Share | None
    problem: str = ""


def study_digest(limits: StudyLimits, root: Path) -> str:
    """Hex sha256 of the study and its votes: another vote is another question. Empty where it cannot be read."""
    try:
        folder = frozen.found(root, limits.name)
        return digests.of_json([frozen.read(folder).digest, log.read(folder).digest])
    except BadInput:
        return ""


def preference(settings: GateSettings, limits: StudyLimits, root: Path, champion: str, challenger: str) -> Preference:
    """The study's answer; never an error: what cannot be read refuses.

    Args:
        champion, challenger: digests of their weights.
    """
    try:
        folder = frozen.found(root, limits.name)
        manifest = frozen.read(folder)
        votes = counting(manifest, log.read(folder).standing)
    except BadInput as error:
        return Preference(None, str(error))
    return preferred(manifest, votes, champion, challenger, settings)


def preferred(
    manifest: Manifest, votes: Sequence[Vote], champion: str, challenger: str, settings: GateSettings
) -> Preference:
    """The challenger's part of the votes on comparisons of the two. Pure."""
    weights = {model.name: model.weights for model in manifest.models}
    for label, digest in (("champion", champion), ("challenger", challenger)):
        if manifest.kind != "models" or digest not in weights.values():
            return Preference(None, f"study {manifest.name} has no model of the {label}'s weights {digest[:12]}")
    by_id = manifest.by_id
    values, raters, photos = [], [], []
    for vote in votes:
        one = by_id[vote.comparison]
        sides: dict[str, Which] = {weights[one.first.model]: "first", weights[one.second.model]: "second"}
        if sides.keys() != {champion, challenger}:
            continue
        values.append(vote.first if sides[challenger] == "first" else 1.0 - vote.first)
        raters.append(vote.rater)
        photos.append(one.photo)
    return Preference(share(values, raters, photos, resamples=settings.bootstrap, confidence=settings.confidence))


def people(limits: StudyLimits, asked: Preference | None) -> Check:
    """The row: the interval must lie above the bound, and enough people must have voted."""
    bound = limits.min_win_rate
    found = None if asked is None else asked.found
    if found is None or found.mean is None:
        why = "people were not asked" if asked is None else asked.problem or "there is no vote that counts"
        return Check(name=ROW, value=None, threshold=bound, verdict="no", reason=why)
    if found.low is None or found.high is None or found.raters < limits.min_raters:
        why = f"{found.raters} raters and {found.photos} photos; at least {limits.min_raters} raters are wanted"
        return Check(name=ROW, value=None, threshold=bound, verdict="no", reason=why)
    why = (
        f"mean {found.mean:.3f}, interval {found.low:.3f} .. {found.high:.3f} must lie above {bound:g}; {found.votes} "
        f"votes of {found.raters} raters on {found.photos} photos"
    )
    return Check(name=ROW, value=found.low, threshold=bound, verdict="yes" if found.low > bound else "no", reason=why)
