"""A study's result for a terminal. Pure."""

from collections.abc import Iterator

from components.study.manifest import Manifest
from components.study.result import Figures, Result, ShareFigures


def as_text(manifest: Manifest, result: Result) -> str:
    """All figures, the raters' first."""
    return "\n".join([*_head(manifest, result), *_raters(result), *_both(result)])


def _head(manifest: Manifest, result: Result) -> Iterator[str]:
    checks = len(manifest.checks)
    yield f"{manifest.name}: {len(manifest.pairs)} comparisons, {checks} attention checks; {manifest.question}"
    yield (f"intervals: {result.confidence:.0%}, over raters and photos; a tie counts half; no repeats, no checks")
    if not result.raters:
        yield "nobody has voted yet"


def _raters(result: Result) -> Iterator[str]:
    if result.raters:
        yield f"{'rater':<18} votes ties checks failed same answer twice  left     s"
    for one in result.raters:
        left = "" if one.left is None else f"{one.left:.0%}"
        seconds = "" if one.seconds is None else f"{one.seconds:.1f}"
        yield (
            f"{one.rater:<18} {one.votes:>5} {one.ties:>4} {f'{one.failed} of {one.checks}':>13} "
            f"{f'{one.agreed} of {one.repeats}':>17} {left:>5} {seconds:>5}{'  excluded' if one.excluded else ''}"
        )
    if result.raters:
        excluded = result.excluded
        named = f": {', '.join(excluded)}" if excluded else ""
        yield f"{result.rule}; {len(excluded)} of {len(result.raters)} are{named}"


def _both(result: Result) -> Iterator[str]:
    if not result.raters:
        return
    if result.excluded:
        yield f"without the excluded ({result.kept.raters} raters, {result.kept.votes} votes)"
    yield from _figures(result.kept)
    if result.excluded:
        yield f"all raters ({result.everyone.raters} raters, {result.everyone.votes} votes)"
        yield from _figures(result.everyone)


def _figures(figures: Figures) -> Iterator[str]:
    for pair in figures.pairs:
        rate = pair.win_rate
        yield (
            f"  {f'{pair.first} over {pair.second}':<38} {_share(rate):<24} "
            f"{rate.votes} votes, {pair.ties} ties, {rate.raters} raters, {rate.photos} photos"
        )
    for one in figures.ranking:
        ends = "" if one.low is None else f" ({one.low:+.2f} .. {one.high:+.2f})"
        yield f"  strength {one.model:<25} {one.strength:+.2f}{ends}"
    if figures.no_ranking:
        yield f"  {figures.no_ranking}"
    yield f"  {'same answer twice':<38} {_share(figures.self_agreement)}"
    yield f"  {'agreement of raters (alpha)':<38} {'unknown' if figures.alpha is None else f'{figures.alpha:.2f}'}"
    for metric in figures.metrics:
        yield f"  {f'{metric.metric} prefers what people prefer':<38} {_share(metric.agreement)}"


def _share(found: ShareFigures) -> str:
    if found.mean is None:
        return "no votes"
    if found.low is None or found.high is None:
        return f"{found.mean:.1%} (no interval)"
    return f"{found.mean:.1%} ({found.low:.1%} .. {found.high:.1%})"
