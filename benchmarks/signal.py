"""Signal to noise of a step's gradient for each network call, by how noise is drawn: `python -m benchmarks.signal`.

A step's gradient is g = mu + noise. SNR^2 = |mu|^2 / E|noise|^2 grows in proportion to the step, so SNR^2 over the
step's network calls says what a scheme is worth. All schemes have one mu, since none changes the expected gradient; it
is estimated from all of them, and how far each scheme's mean lies from it is shown. What remains to compare is the
noise. The other figures are of `--policy`, a policy after some training: how much of its gradient's noise the
reference's gradient on the same draws explains, which is what a control variate could take away.

Gradients are kept as random sketches, which keep inner products. Each step is a file in `--out`: what is there is not
computed again, and more `--steps` add to it.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from components.artifacts import paths, tables
from components.backbones.base import Backbone
from components.backbones.loading import load_backbone
from components.errors import BadInput
from components.progress import progress
from components.settings import Settings, TrainSettings, load_settings
from components.storage import digests
from components.storage.publish import atomic_file
from components.train.batches.pairs import PairBatches
from components.train.conditions import Conditions
from components.train.groups import GroupImages, groups_of

SKETCH = 8192
"""Numbers of a sketch: inner products keep to 1/sqrt(SKETCH) of the product of the norms."""
HALVES = 400
FEW = 1e-9
"""How often, beside 1, a part of the levels is drawn that is not wanted."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Scheme:
    """How noise is drawn, as a change of `train`.

    Attributes:
        groups: groups a step, for each that the plain scheme takes.
    """

    about: str
    train: dict[str, Any] = field(default_factory=dict)
    groups: float = 1.0


def schemes(top: int, proposal: Sequence[float]) -> dict[str, Scheme]:
    """What is compared; all but the third take the same calls a step where each group has `top`^2 pairs."""
    spread = {"noise_shared_by": "pair", "pairs_per_group": top}
    turned = spread | {"noise_draws": "antithetic"}
    found = {
        "group": Scheme("one t and noise a group, all its pairs (the default)"),
        "group, stratified t": Scheme("and t spread over the step", {"t_draws": "stratified"}),
        "group, antithetic t": Scheme("and t in opposite couples", {"t_draws": "antithetic"}),
        "pair": Scheme("a t and noise a pair, all pairs", {"noise_shared_by": "pair"}, 1.0 / top),
        "pair, N a group": Scheme("a t and noise a pair, N pairs a group", spread),
        "pair, N, stratified t": Scheme("and t spread over the step", spread | {"t_draws": "stratified"}),
        "pair, 1 a group": Scheme("one pair of each of N times as many groups", spread | {"pairs_per_group": 1}, top),
        "pair, N, antithetic": Scheme("noise in couples of epsilon and -epsilon", turned),
        "pair, N, antithetic, stratified t": Scheme("and t spread over the step", turned | {"t_draws": "stratified"}),
        "pair, 2, antithetic": Scheme(
            "one couple of each of N/2 as many groups", turned | {"pairs_per_group": 2}, top / 2
        ),
    }
    if proposal:
        drawn = {"t_proposal": tuple(proposal)}
        found["group, t proposed"] = Scheme("t drawn where gradients are large, weighted", drawn)
        found["group, t proposed, stratified"] = Scheme("and spread", drawn | {"t_draws": "stratified"})
    return found


@dataclass(frozen=True)
class Drawn:
    """Sketches of steps' gradients `[n, SKETCH]`, and rows a step that a network sees (policy and reference each)."""

    sketches: Values
    rows: float

    @property
    def noise(self) -> float:
        """E|g - mu|^2 of a step."""
        return float(self.sketches.var(axis=0, ddof=1).sum())

    @property
    def noise_a_call(self) -> float:
        """Of a step of a single network call."""
        return self.noise * 2.0 * self.rows

    def part(self, chosen: NDArray[np.int64]) -> "Drawn":
        """Some of the steps."""
        return Drawn(self.sketches[chosen], self.rows)


class Gradients:
    """Gradients of a project's groups at a policy, on disk.

    Args:
        settings, root: of the project, with pairs.
        backbone: whose policy it is; the loss is that of `settings.train`.
        out: folder of the sketches.
        most: groups that count; fewer need fewer LR images encoded.
    """

    def __init__(self, settings: Settings, root: Path, backbone: Backbone, out: Path, most: int) -> None:
        pairs = tables.read_dialled(root / paths.PAIRS, tables.PAIRS)
        dataset = tables.read_rows(root / paths.DATASET_ROWS, tables.DATASET)
        candidates = tables.read_rows(root / paths.CANDIDATE_ROWS, tables.CANDIDATES)
        self._settings, self._backbone, self._out = settings, backbone, out
        self._groups = dict(list(groups_of(pairs).items())[:most])
        self._images = GroupImages(root, dataset, candidates)
        self._accelerator = Accelerator(cpu=backbone.device.type == "cpu")
        self._conditions = Conditions(backbone, self._images, settings.train.condition_cache_mb * 2**20)
        self._key = digests.of_json(
            [backbone.digest("policy"), backbone.digest("reference"), digests.of_file(root / paths.PAIRS), most]
        )
        size = sum(one.numel() for one in backbone.policy.parameters() if one.requires_grad)
        generator = torch.Generator().manual_seed(0)
        self._places = torch.randint(SKETCH, (size,), generator=generator)
        self._signs = torch.randint(2, (size,), generator=generator).float() * 2.0 - 1.0

    def train(self, change: Mapping[str, Any], groups: int) -> TrainSettings:
        """The project's train block with a change, and so many groups a step."""
        micro = self._settings.train.micro_batch
        fitting = micro if groups % micro == 0 else 1
        values = self._settings.train.model_dump() | dict(change) | {"groups_per_step": groups, "micro_batch": fitting}
        return TrainSettings.model_validate(values)

    def drawn(self, train: TrainSettings, steps: int, what: str) -> Drawn:
        """The first `steps` steps' gradients."""
        batches = self._batches(train)
        shown = train.model_dump(exclude={"micro_batch", "steps", "rounds", "condition_cache_mb"})
        folder = self._out / digests.of_json([self._key, shown])[:16]
        folder.mkdir(parents=True, exist_ok=True)
        found = [
            self._step(batches, step, folder / f"{step:05d}.npy")
            for step in progress(range(steps), desc=what, unit="step")
        ]
        return Drawn(np.stack([one[1:] for one in found]).astype(np.float64), float(np.mean([one[0] for one in found])))

    def _batches(self, train: TrainSettings) -> PairBatches:
        levels = self._backbone.sampler.levels
        batches = PairBatches(train, self._backbone, self._groups, self._images, self._accelerator, levels)
        batches.conditions = self._conditions  # encoding an LR image takes longer than a step
        return batches

    def _step(self, batches: PairBatches, step: int, path: Path) -> NDArray[np.float32]:
        """Rows, then the sketch, of a step."""
        if path.is_file():
            known: NDArray[np.float32] = np.load(path)
            return known
        self._backbone.policy.zero_grad(set_to_none=True)
        rows = 0.0
        for batch in batches.of_step(step):
            part = batches.loss(self._backbone, batch)
            part.loss.backward()
            rows += float(part.sums[:, -1].sum())
        gradient = torch.cat([one.grad.flatten() for one in self._backbone.policy.parameters() if one.grad is not None])
        sketch = torch.zeros(SKETCH).index_add_(0, self._places, gradient.cpu() * self._signs)
        made = np.concatenate([[rows], sketch.numpy()]).astype(np.float32)
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, made)
        return made


def proposal_of(gradients: Gradients, parts: int, steps: int) -> list[float]:
    """How often to draw each of `parts` equally likely parts of the levels for the least noise: as the root of E|g|^2.

    From a pilot of `steps` groups a part; the largest is 1, and none is below .05.
    """
    sizes = []
    for part in range(parts):
        wanted = tuple(1.0 if place == part else FEW for place in range(parts))
        drawn = gradients.drawn(gradients.train({"t_proposal": wanted}, 1), steps, f"pilot, part {part + 1} of {parts}")
        sizes.append(float(np.sqrt((drawn.sketches**2).sum(axis=1).mean())))
    return [max(0.05, round(size / max(sizes), 3)) for size in sizes]


def squared_mean(drawn: Sequence[Drawn]) -> float:
    """|mu|^2 of all schemes' mean, without what their noise adds; may be below 0 where there is no signal."""
    weights = np.array([len(one.sketches) / one.noise for one in drawn])
    weights /= weights.sum()
    mean = sum(weight * one.sketches.mean(axis=0) for weight, one in zip(weights, drawn, strict=True))
    noise = sum(weight**2 * one.noise / len(one.sketches) for weight, one in zip(weights, drawn, strict=True))
    return float(np.square(mean).sum() - noise)


def halves(count: int) -> Iterator[NDArray[np.int64]]:
    """Random halves of `count` steps; a figure's spread over them is its own standard error (Shao and Wu, 1989)."""
    generator = np.random.default_rng(0)
    for _ in range(HALVES):
        yield generator.permutation(count)[: count // 2]


def compare(found: Mapping[str, Drawn], standard: str) -> dict[str, dict[str, float]]:
    """By scheme: calls a step, SNR^2 of 1000 calls, how many calls of the standard one call is worth, with intervals.

    `bias` is the distance of the scheme's mean from that of the others, in units of what noise alone would give: about
    1 where it has the same expected gradient.
    """
    signal = squared_mean(list(found.values()))
    base = found[standard]
    table = {}
    for name, one in found.items():
        worth = base.noise_a_call / one.noise_a_call
        count = min(len(one.sketches), len(base.sketches))
        spread = [base.part(chosen).noise_a_call / one.part(chosen).noise_a_call - worth for chosen in halves(count)]
        error = 0.0 if one is base else float(np.sqrt(np.mean(np.square(spread))))
        others = [other for other in found if other != name] or [name]
        mean = np.mean([found[other].sketches.mean(axis=0) for other in others], axis=0)
        allowed = one.noise / len(one.sketches)
        allowed += sum(found[other].noise / len(found[other].sketches) for other in others) / len(others) ** 2
        table[name] = {
            "calls": 2.0 * one.rows,
            "snr2_1000": 1000.0 * signal / one.noise_a_call,
            "worth": worth,
            "low": worth - 1.96 * error,
            "high": worth + 1.96 * error,
            "bias": float(np.square(one.sketches.mean(axis=0) - mean).sum() / allowed),
        }
    return table


def explained(policy: Drawn, reference: Drawn) -> dict[str, float]:
    """How much of the noise of the policy's gradient the reference's explains, drawn alike.

    A control variate g - a (g_ref - mu_ref) leaves the share 1 - r^2 at the best a; it also needs the backward pass of
    the reference, so that a row costs 6 units of a forward pass and not 4, and mu_ref of many steps.
    """
    left = policy.sketches - policy.sketches.mean(axis=0)
    right = reference.sketches - reference.sketches.mean(axis=0)
    shared = float((left * right).sum())
    r2 = shared**2 / float((left**2).sum() * (right**2).sum())
    return {"r2": r2, "factor": shared / float((right**2).sum()), "worth": 4.0 / 6.0 / max(1.0 - r2, 1e-9)}


def show(table: Mapping[str, Mapping[str, float]], about: Mapping[str, Scheme]) -> str:
    """As a Markdown table."""
    lines = [
        "| scheme | what it is | calls a step | SNR² of 1000 calls | worth of a call | bias |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in table.items():
        lines.append(
            f"| {name} | {about[name].about} | {row['calls']:.0f} | {row['snr2_1000']:.4f} | "
            f"{row['worth']:.2f} ({row['low']:.2f} .. {row['high']:.2f}) | {row['bias']:.2f} |"
        )
    return "\n".join(lines)


def measure(
    project: Path, out: Path, steps: int, parts: int, groups: int, policy: Path | None, most: int = 64
) -> dict[str, Any]:
    """All figures.

    Raises:
        BadInput: the project has no pairs, or not those of a builder with losers.
    """
    settings = load_settings(project / "params.yaml")
    if not settings.train.objective.losers or not settings.train.source.of_pairs:
        raise BadInput(f"{project}: train.source and train.objective must be of pairs with losers")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = load_backbone(settings, project, device)
    gradients = Gradients(settings, project, backbone, out, most)
    proposal = proposal_of(gradients, parts, 2 * steps) if parts > 1 else []
    compared = schemes(settings.pair.builder.counts(settings.generate.candidates)[0] // 2, proposal)
    found = {}
    for name, scheme in compared.items():
        train = gradients.train(scheme.train, max(1, round(scheme.groups * groups)))
        found[name] = gradients.drawn(train, steps, name)
    result: dict[str, Any] = {"steps": steps, "proposal": proposal, "schemes": compare(found, "group")}
    print(show(result["schemes"], compared))
    if policy is not None:
        backbone.load_policy(policy)
        trained = Gradients(settings, project, backbone, out, most)
        result["control"] = explained(trained.drawn(trained.train({}, groups), steps, "trained policy"), found["group"])
        print(f"control variate: {result['control']}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=Path(), help="with candidates and pairs")
    parser.add_argument("--out", type=Path, default=Path("cache/signal"), help="folder of the sketches")
    parser.add_argument("--steps", type=int, default=64, help="steps a scheme")
    parser.add_argument("--groups", type=int, default=8, help="groups a step of the plain scheme")
    parser.add_argument("--lr-images", type=int, default=64, help="groups that count, the first of the pairs")
    parser.add_argument("--parts", type=int, default=2, help="parts of the levels of the proposal; 1 = none")
    parser.add_argument("--policy", type=Path, help="a trained policy, models/aligned/last for example")
    parser.add_argument("--json", type=Path, help="write the figures")
    arguments = parser.parse_args()
    project = arguments.project.resolve()
    found = measure(
        project,
        arguments.out,
        arguments.steps,
        arguments.parts,
        arguments.groups,
        arguments.policy,
        arguments.lr_images,
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
