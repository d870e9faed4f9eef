"""The training loop, from top to bottom: draw, predict, weigh, step; validate and save on a schedule."""

import logging
import math
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from types import FrameType

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from components.artifacts.cache import CacheFolder
from components.backbones.base import Backbone
from components.errors import BadInput, ResumeLater
from components.settings import TrainSettings
from components.train import checkpoints, processes, schedule
from components.train.average import Average
from components.train.checkpoints import TrainingState
from components.train.conditions import Conditions
from components.train.groups import Group, GroupImages
from components.train.limits import within
from components.train.objectives import OBJECTIVES, Pairs

logger = logging.getLogger("dp2o.train")

LOGGED_SUMS = ("loss", "accuracy", "margin", "weight", "weight_squared", "pairs")
LOGGED_ERRORS = ("policy_winner", "policy_loser", "reference_winner", "reference_loser")


class StopRequest:
    """Remembers that the process was asked to end, so that the loop can end between two steps."""

    def __init__(self) -> None:
        self.requested = False
        self._previous = signal.signal(signal.SIGTERM, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def restore(self) -> None:
        """Give SIGTERM back to whoever had it."""
        signal.signal(signal.SIGTERM, self._previous)


class Trainer:
    """Optimises the policy of a backbone on groups of preference pairs.

    What is validated and published is the policy's moving average where `settings.ema` asks for one. Policy and
    reference share one pass each over 2N candidates a group, with one t and one epsilon (method, section 5).

    Args:
        settings: the train block of params.yaml.
        backbone: policy and frozen reference.
        groups: by lr_id.
        images: LR and candidate images of the groups.
        validate: measures the policy, at step 0 and every `validate_every` steps; called by all processes together,
            and gives all of them the same.
        cache: where checkpoints go; training continues from the newest valid one there.
        accelerator: device, precision and processes.
        sampled: noise levels of the backbone's sampler, for train.t_distribution sampler.

    Raises:
        BadInput: the groups of a step cannot be dealt evenly to the processes, or a moving average is asked of FSDP2.
    """

    def __init__(
        self,
        settings: TrainSettings,
        backbone: Backbone,
        groups: dict[str, Group],
        images: GroupImages,
        validate: Callable[[], dict[str, float]],
        cache: CacheFolder,
        accelerator: Accelerator,
        sampled: Sequence[float] = (),
    ) -> None:
        self.settings = settings
        self.backbone = backbone
        self.groups = groups
        self.images = images
        self.validate = validate
        self.cache = cache
        self.accelerator = accelerator
        self.objective = OBJECTIVES[settings.objective]
        self.sampled = sampled
        self.conditions = Conditions(backbone, images, settings.condition_cache_mb * 2**20)
        share = settings.micro_batch * accelerator.num_processes
        if settings.groups_per_step % share:
            raise BadInput(
                f"train.groups_per_step {settings.groups_per_step} is not a multiple of train.micro_batch "
                f"{settings.micro_batch} times {accelerator.num_processes} processes: each process needs whole parts"
            )
        if settings.ema and accelerator.is_fsdp2:
            raise BadInput(
                "train.ema keeps the average of whole weights, and FSDP2 has parts of them: set it to 0, or launch "
                "with launch/ddp.yaml"
            )

    def run(self) -> TrainingState:
        """Train up to `settings.steps`, from the newest checkpoint if there is one.

        Raises:
            ResumeLater: SIGTERM came, and the state up to the last finished step is saved; or the processes found
                different checkpoints.
            BadInput: the loss is not finite.
        """
        stop = StopRequest()
        try:
            return self._run(stop)
        finally:
            stop.restore()

    def _run(self, stop: StopRequest) -> TrainingState:
        policy = self.backbone.policy
        optimizer = torch.optim.AdamW(
            list(processes.trainable(policy).values()),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )
        state = checkpoints.newest(self.cache)
        if state is None:
            state = TrainingState(step=0, policy={}, optimizer={})
        processes.agree_on(self.accelerator, state.step)
        average = Average(policy.to(self.accelerator.device), self.settings.ema)
        average.load(state.average)
        if state.policy:
            processes.load_policy_state(policy, state.policy)
            logger.info("continuing after step %d", state.step)
        self.backbone.policy, optimizer = self.accelerator.prepare(policy, optimizer)
        if state.optimizer:
            processes.load_optimizer_state(self.accelerator, self.backbone.policy, optimizer, state.optimizer)
        if state.scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler)
        if not state.validation:
            self._validate(state, average)

        main = self.accelerator.is_main_process
        with tqdm(total=self.settings.steps, initial=state.step, desc="train", unit="step", disable=not main) as bar:
            while state.step < self.settings.steps:
                self._step(state, optimizer)
                average.update(self.accelerator.unwrap_model(self.backbone.policy), state.step)
                bar.update()
                bar.set_postfix(loss=f"{state.log[-1]['loss']:.4f}", accuracy=f"{state.log[-1]['accuracy']:.3f}")
                if state.step % self.settings.validate_every == 0 or state.step == self.settings.steps:
                    self._validate(state, average)
                ending = self._any_process(stop.requested)
                if ending or state.step % self.settings.checkpoint_every == 0 or state.step == self.settings.steps:
                    self._save(state, optimizer, average)
                if ending and state.step < self.settings.steps:
                    raise ResumeLater(
                        f"stopped after step {state.step} of {self.settings.steps}; run it again to continue"
                    )
        return state

    def _step(self, state: TrainingState, optimizer: torch.optim.Optimizer) -> None:
        began = time.perf_counter()
        for block in optimizer.param_groups:
            block["lr"] = schedule.learning_rate(self.settings, state.step)
        lr_ids = schedule.groups_of_step(
            list(self.groups), state.step, self.settings.groups_per_step, self.settings.seed
        )
        step_groups = [
            (self.groups[lr_id], occurrence)
            for lr_id, occurrence in zip(lr_ids, schedule.occurrences(lr_ids), strict=True)
        ]
        # The mean is over all pairs of the step, wherever they are computed: groups differ in their number of pairs.
        total_pairs = sum(len(group.winner) for group, _ in step_groups)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        mine = step_groups[rank::world]
        parts = [mine[at : at + self.settings.micro_batch] for at in range(0, len(mine), self.settings.micro_batch)]
        sums = torch.zeros(len(LOGGED_SUMS), dtype=torch.float64, device=self.accelerator.device)
        errors = torch.zeros(len(LOGGED_ERRORS) + 1, dtype=torch.float64, device=self.accelerator.device)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.backbone.policy):
                loss = self._part_loss(part, state.step, total_pairs, len(step_groups), sums, errors)
                self.accelerator.backward(loss * world)  # processes average their gradients
        norm = self.accelerator.clip_grad_norm_(self.backbone.policy.parameters(), self.settings.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        sums = self.accelerator.reduce(sums, "sum")
        errors = self.accelerator.reduce(errors, "sum")
        named = dict(zip(LOGGED_SUMS, sums.tolist(), strict=True))
        means = (errors[:-1] / errors[-1]).tolist()
        if not math.isfinite(named["loss"]):
            raise BadInput(
                f"the loss of step {state.step + 1} is {named['loss']}: the policy diverged; lower train.learning_rate "
                f"or train.beta, or train in another train.precision than {self.settings.precision}"
            )
        pairs = named["pairs"]
        mean_weight = named["weight"] / pairs
        state.step += 1
        state.log.append(
            {
                "step": state.step,
                "loss": named["loss"],
                "accuracy": named["accuracy"] / pairs,
                "margin": named["margin"] / pairs,
                **dict(zip(LOGGED_ERRORS, means, strict=True)),
                "weight_std": max(named["weight_squared"] / pairs - mean_weight**2, 0.0) ** 0.5,
                "gradient_norm": processes.number(norm),
                "learning_rate": schedule.learning_rate(self.settings, state.step - 1),
                "images_per_s": sum(len(group.candidates) for group, _ in step_groups) / (time.perf_counter() - began),
            }
        )

    def _part_loss(
        self,
        part: Sequence[tuple[Group, int]],
        step: int,
        total_pairs: int,
        total_groups: int,
        sums: Tensor,
        errors: Tensor,
    ) -> Tensor:
        """Loss of some groups of a step, in one policy pass and one reference pass; adds to the logged sums."""
        device = self.accelerator.device
        latents, times, noises, pairs = [], [], [], []
        for group, occurrence in part:
            clean = self._clean(group)
            draw = partial(
                schedule.draw_noise,
                self.settings,
                step,
                group.lr_id,
                tuple(clean.shape[1:]),
                sampled=self.sampled,
                occurrence=occurrence,
            )
            if self.settings.noise_shared_by == "group":
                positions, of_group = list(range(len(group.candidates))), group.by_position(device)
                t, noise = draw(draws=1)
                t, noise = t.expand(len(positions)), noise.expand(len(positions), *noise.shape[1:])
            else:
                positions, of_group = group.by_pair(device)
                count = len(group.winner)
                t, noise = draw(draws=count)
                twice = len(positions) // count  # once where winners stand alone
                t, noise = t.repeat(twice), noise.repeat(twice, *[1] * (noise.dim() - 1))
            latents.append(clean[positions])
            times.append(t.to(device))
            noises.append(noise.to(device))
            pairs.append(of_group)
        sizes = [len(block) for block in latents]
        condition = self.conditions.of([group.lr_id for group, _ in part], device).repeat(*sizes)
        x0, t, noise = torch.cat(latents), torch.cat(times), torch.cat(noises)
        with self.accelerator.autocast():
            policy, reference = self.backbone.errors(x0, condition, t, noise)

        loss = policy.new_zeros(())
        at = 0
        for size, of_group in zip(sizes, pairs, strict=True):
            group_policy, group_reference = policy[at : at + size], reference[at : at + size]
            at += size
            result = self.objective(group_policy, group_reference, of_group, self.settings.beta)
            loss = loss + result.losses.sum() / total_pairs
            if self.settings.anchor:
                winners = group_policy[of_group.winner].mean()
                loss = loss + self.settings.anchor * winners / total_groups
            self._log(sums, errors, result.losses, result.margins, of_group, group_policy, group_reference, total_pairs)
        return loss

    def _clean(self, group: Group) -> Tensor:
        """x0 of a group's candidates: as the sampler gave it where it was stored, else the encoded image."""
        stored = self.images.latents(group.lr_id, group.candidates)
        if stored is None:
            images = self.images.candidates(group.lr_id, group.candidates)
            with torch.no_grad():
                return self.backbone.encode(images.to(self.accelerator.device))
        lr = self.images.lr(group.lr_id)
        shape = self.backbone.latent_shape(*(side * self.backbone.scale for side in lr.shape[-2:]))
        if tuple(stored.shape[1:]) != shape:
            raise BadInput(
                f"the stored latents of {group.lr_id} are {tuple(stored.shape[1:])}, backbone.base takes {shape}: "
                "candidates are of another model; run generate, score and pair again"
            )
        return stored.to(self.accelerator.device)

    @staticmethod
    @torch.no_grad()
    def _log(
        sums: Tensor,
        errors: Tensor,
        losses: Tensor,
        margins: Tensor,
        pairs: Pairs,
        policy: Tensor,
        reference: Tensor,
        total_pairs: int,
    ) -> None:
        count = float(len(margins))
        accuracy = (margins > 0).double().sum() + 0.5 * (margins == 0).double().sum()  # undecided is a coin toss
        sums += torch.stack(
            [
                losses.double().sum() / total_pairs,
                accuracy,
                margins.double().sum(),
                pairs.weight.double().sum(),
                pairs.weight.double().square().sum(),
                torch.tensor(count, dtype=torch.float64, device=sums.device),
            ]
        )

        def loser_sum(errors_of: Tensor) -> Tensor:
            # Winners alone have no losers' error; not a number is what is logged, not another error in its place.
            alone = pairs.loser < 0
            return errors_of[pairs.loser.clamp_min(0)].double().masked_fill(alone, torch.nan).sum()

        errors += torch.stack(
            [
                policy[pairs.winner].double().sum(),
                loser_sum(policy),
                reference[pairs.winner].double().sum(),
                loser_sum(reference),
                torch.tensor(count, dtype=torch.float64, device=errors.device),
            ]
        )

    def _any_process(self, flag: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return flag
        flags = self.accelerator.reduce(torch.tensor(float(flag), device=self.accelerator.device), "sum")
        return bool(flags.item() > 0)

    @property
    def _takes_part(self) -> bool:
        """Whether this process collects states: the main one; with FSDP2 each, it holds a part."""
        return bool(self.accelerator.is_main_process or self.accelerator.is_fsdp2)

    def _validate(self, state: TrainingState, average: Average) -> None:
        """Validate the average, and keep it where it is the best so far among those within `settings.limits`."""
        with average.in_place(self.accelerator.unwrap_model(self.backbone.policy)):
            row = {"step": state.step, **self.validate()}
            row["within_limits"] = float(within(row, (state.validation or [row])[0], self.settings.limits))
            state.validation.append(row)
            if row["within_limits"] and row["reward"] > state.best_reward:
                state.best_step, state.best_reward = state.step, row["reward"]
                if self._takes_part:
                    state.best_policy = processes.policy_state(self.accelerator, self.backbone.policy)
        if self.accelerator.is_main_process:
            logger.info("step %d: validation reward %.4f (best %.4f at step %d)", state.step, row["reward"],
                        state.best_reward, state.best_step)  # fmt: skip
        self.accelerator.wait_for_everyone()

    def _save(self, state: TrainingState, optimizer: torch.optim.Optimizer, average: Average) -> None:
        state.average = average.state()
        if self._takes_part:
            state.policy = processes.policy_state(self.accelerator, self.backbone.policy)
            state.optimizer = processes.optimizer_state(self.accelerator, self.backbone.policy, optimizer)
        if self.accelerator.is_main_process:
            state.scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else {}
            checkpoints.save(self.cache, state)
        self.accelerator.wait_for_everyone()
