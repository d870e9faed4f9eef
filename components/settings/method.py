"""What must hold between the parts of a method and what they are given: scalariser, builder, filters, objective."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from components.settings.builders import BUILDER_KINDS
from components.settings.families import family_of
from components.settings.filters import FILTER_KINDS
from components.settings.judges import PairwiseSettings
from components.settings.scalarisers import SidesSettings
from components.settings.sources import NFTSource, PRDPSource

if TYPE_CHECKING:
    from components.settings.project import Settings


def method_fits(settings: "Settings") -> Iterator[str]:
    """What contradicts what, and the way out."""
    yield from _pairs_fit_the_objective(settings)
    yield from _filters_keep_what_others_gave(settings)
    yield from _rewards_have_a_side(settings)
    yield from _pairs_fit_groups(settings)
    yield from _dial_has_two_ends(settings)
    yield from _source_has_what_is_asked(settings)
    yield from _rounds_can_be_sampled(settings)


def _pairs_fit_the_objective(settings: "Settings") -> Iterator[str]:
    builder, objective, filters = settings.pair.builder, settings.train.objective, settings.pair.filters
    if not (builder.loaded and objective.loaded and all(part.loaded for part in filters)):
        return
    if builder.losers != objective.losers:
        words = {True: "with losers", False: "without losers"}
        yield (
            f"pair.builder {builder.kind} makes pairs {words[builder.losers]}, train.objective {objective.kind} is "
            f"for pairs {words[objective.losers]}: of this project's own, both are winners_only or neither is"
        )
    for one in filters:
        if one.losers and not builder.losers:
            yield (
                f"pair.filters {one.kind} compares a winner with a loser, and pair.builder {builder.kind} has no "
                "losers: take it out"
            )
    for column in objective.needs:
        if column not in settings.pair.gives:
            yield (
                f"train.objective {objective.kind} needs the {column} of each pair, which pair.builder "
                f"{builder.kind} with pair.filters {[part.kind for part in filters]} leaves empty" + _giving(column)
            )


def _giving(column: str) -> str:
    """The way out where a column of the pairs is empty: which parts of this project fill it."""
    names = [f"pair.builder {kind}" for kind, builder in BUILDER_KINDS.items() if column in builder.gives]
    for kind, one in FILTER_KINDS.items():
        if column in one.gives:
            names.append(f"pair.filters {kind}" + (f" with {one.asked_by[column]}" if column in one.asked_by else ""))
    return f"; it is filled by {' or '.join(names)}" if names else "; no part of this project fills it, bring a builder"


def _filters_keep_what_others_gave(settings: "Settings") -> Iterator[str]:
    filters = settings.pair.filters
    for place, one in enumerate(filters):
        for earlier in filters[:place]:
            for column in sorted(set(earlier.fills) & set(one.fills)):
                yield (
                    f"pair.filters {earlier.kind} and {one.kind} both fill the {column} of each pair, so that what the "
                    "first one says is lost: take one of them out"
                    + (f", or set {one.asked_by[column]} of the second to 0" if column in one.asked_by else "")
                )
            if one.turns and "margin" in earlier.fills:
                yield (
                    f"pair.filters {one.kind} exchanges winners and losers after {earlier.kind} has given them their "
                    f"margins: name {one.kind} first"
                )


def _rewards_have_a_side(settings: "Settings") -> Iterator[str]:
    scalariser, score = settings.pair.scalariser, settings.score
    if not isinstance(scalariser, SidesSettings):
        return
    for side, name, metrics, weight, other in (
        ("fidelity", "fr", score.fr, scalariser.realism, "realism"),
        ("realism", "nr", score.nr, scalariser.fidelity, "fidelity"),
    ):
        if not metrics and weight == 0.0:
            yield (
                f"pair.scalariser {scalariser.kind} rewards {side} alone, and score.{name} is empty: name a metric "
                f"there, or give {other} weight"
            )


def _pairs_fit_groups(settings: "Settings") -> Iterator[str]:
    made = settings.generate.candidates
    used = settings.pair.candidates or made
    if used > made:
        yield f"pair.candidates {used} exceeds generate.candidates {made}: raise the latter"
    else:
        try:
            settings.pair.builder.check(used)
        except ValueError as error:
            yield str(error)
    given = {"fidelity": ("score.fr", settings.score.fr), "realism": ("score.nr", settings.score.nr)}
    for side in settings.pair.builder.sides:
        name, metrics = given[side]
        if not metrics:
            yield (
                f"pair.builder {settings.pair.builder.kind} asks for {side}, and {name} is empty: name a metric there, "
                "or change the builder's judge and scorer"
            )
    known = {judge.kind: judge for judge in settings.score.judges}
    for kind in settings.pair.builder.judges:
        if kind not in known:
            yield (
                f"pair.builder {settings.pair.builder.kind} has judge {kind}, which is neither a side (fidelity, "
                f"realism) nor one of score.judges {sorted(known)}: name it there, or take a side"
            )
        elif known[kind].side is None and not isinstance(known[kind], PairwiseSettings):
            yield (
                f"pair.builder {settings.pair.builder.kind} asks judge {kind}, whose answer may have no rating: give "
                "it a side, so that such candidates are set aside"
            )
    if "align" not in settings.generate.splits:
        yield "generate.splits lacks align: training has no candidates without it"


def _dial_has_two_ends(settings: "Settings") -> Iterator[str]:
    told = [mixture.name for mixture in settings.evaluate.mixtures if mixture.preference is not None]
    if not settings.pair.dial:
        if told:
            yield f"evaluate.mixtures {told[0]} is for a policy with a dial: set pair.dial, or take it out"
        return
    if settings.backbone.loaded and not family_of(settings.backbone.family).limits.dial:
        yield (
            f"pair.dial is for this project's own models, backbone.family is {settings.backbone.family}, whose "
            "networks have no place for it: set it to []"
        )
    for name, metrics in (("score.fr", settings.score.fr), ("score.nr", settings.score.nr)):
        if not metrics:
            yield f"pair.dial turns from fidelity to realism, and {name} is empty: name a metric there, or set it to []"


def _source_has_what_is_asked(settings: "Settings") -> Iterator[str]:
    source, train = settings.train.source, settings.train
    if source.of_pairs:
        return
    family = settings.backbone.family
    if source.metrics and settings.backbone.loaded and not family_of(family).limits.rewarded:
        yield (
            f"train.source {source.kind} is for this project's own models, backbone.family is {family}, whose decoder "
            "passes no gradient on: set it to pairs"
        )
    yield from _rolled_out(settings)
    of_pairs = {
        "train.anchor": (train.anchor, 0),
        "train.margin_cap": (train.margin_cap, 0),
        "train.safeguard": (train.safeguard, 0),
        "train.winner_stop": (train.winner_stop, 0),
        "train.held_out_groups": (train.held_out_groups, 0),
        "train.dual_captions": (train.dual_captions, ""),
        "train.noise": (train.noise, "fresh"),
        "train.rounds": (train.rounds, 1),
        "train.t_draws": (train.t_draws, "independent"),
        "train.t_proposal": (list(train.t_proposal), []),
        "pair.dial": (list(settings.pair.dial), []),
    }
    for name, (value, off) in of_pairs.items():
        if value != off:
            yield f"{name} {value} is of pairs, and train.source {source.kind} has none: set it to {off}"


def _rolled_out(settings: "Settings") -> Iterator[str]:
    source, backbone = settings.train.source, settings.backbone
    if isinstance(source, NFTSource) and backbone.loaded and family_of(backbone.family).limits.stochastic:
        yield (
            f"train.source nft is for flows, backbone.family is {backbone.family}, which predicts no velocity: set it "
            "to prdp or pairs"
        )
    steps = getattr(backbone, "steps", 0)
    if isinstance(source, PRDPSource) and (source.steps or steps) < 2:
        name = "train.source.steps" if source.steps else "backbone.steps"
        yield (
            f"train.source prdp samples in {source.steps or steps} step ({name}), and the last step of a sampling "
            "draws nothing: set train.source.steps to 2 at least"
        )


def _rounds_can_be_sampled(settings: "Settings") -> Iterator[str]:
    if settings.train.rounds > 1 and settings.pair.dial:
        yield (
            f"train.rounds {settings.train.rounds} samples from the policy, and pair.dial {list(settings.pair.dial)} "
            "makes it as many policies as it has places: set one of them back, train.rounds to 1 or pair.dial to []"
        )
