"""The training loop, from top to bottom: take batches, step; validate and save on a schedule."""

import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from components.backbones.base import Backbone
from components.errors import BadInput, Diverged, ResumeLater
from components.judge.diagnosis import diagnose, stopped
from components.progress import counter
from components.settings import TrainSettings
from components.storage.cache import CacheFolder
from components.train import checkpoints, processes, schedule
from components.train.average import Average
from components.train.batches import Batches
from components.train.checkpoints import TrainingState
from components.train.limits import within

logger = logging.getLogger("dp2o.train")

SHOWN = ("loss", "accuracy", "reward")
"""Of a step's log, what stands beside the bar, as far as the batches have it."""


class StopRequest:
    """Remembers that the process was asked to end, by SIGTERM or Ctrl-C, so that the loop can end between two steps."""

    def __init__(self) -> None:
        self.requested = False
        self._previous = {number: signal.signal(number, self._remember) for number in (signal.SIGTERM, signal.SIGINT)}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:  # who presses it twice does not want to wait for the step
            self.restore()
            signal.raise_signal(number)
            return
        self.requested = True
        if number == signal.SIGINT:
            print("the state is saved after this step; Ctrl-C again goes back to the last checkpoint", file=sys.stderr)

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Trainer:
    """Optimises the policy of a backbone on batches of a source.

    What is validated and published is the policy's moving average where `settings.ema` asks for one.

    Args:
        settings: the train block of params.yaml.
        backbone: policy and frozen reference.
        batches: what a step is made of, and its loss.
        validate: measures the policy, at step 0 and every `validate_every` steps; called by all processes together,
            and gives all of them the same.
        cache: where checkpoints go; training continues from the newest valid one there.
        accelerator: device, precision and processes.
        base: validation of the untrained model, which `settings.limits` compare with; None where training begins with
            it.

    Raises:
        BadInput: a moving average is asked of FSDP2.
    """

    def __init__(
        self,
        settings: TrainSettings,
        backbone: Backbone,
        batches: Batches[Any],
        validate: Callable[[], dict[str, float]],
        cache: CacheFolder,
        accelerator: Accelerator,
        base: Mapping[str, float] | None = None,
    ) -> None:
        self.settings = settings
        self.base = base
        self.backbone = backbone
        self.batches = batches
        self.validate = validate
        self.cache = cache
        self.accelerator = accelerator
        if settings.ema and accelerator.is_fsdp2:
            raise BadInput(
                "train.ema keeps the average of whole weights, and FSDP2 has parts of them: set it to 0, or launch "
                "with launch/ddp.yaml"
            )

    def run(self) -> TrainingState:
        """Train up to `settings.steps`, from the newest checkpoint if there is one; `winner_stop` may end it earlier.

        Raises:
            ResumeLater: SIGTERM or SIGINT came, and the state up to the last finished step is saved; or the processes
                found different checkpoints.
            Diverged: the loss is not finite.
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
        processes.require_same_step(self.accelerator, state.step)
        average = Average(policy.to(self.accelerator.device), self.settings.ema)
        average.load(state.average)
        if state.policy:
            processes.load_policy_state(policy, state.policy)
            logger.info("continuing after step %d", state.step)
        self.backbone.policy, optimizer = self.accelerator.prepare(policy, optimizer)
        if state.optimizer:
            processes.load_optimizer_state(self.accelerator, self.backbone.policy, optimizer, state.optimizer)
        self.batches.load(state.batches)
        if state.scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler)
        if not state.validation:
            self._validate(state, average)

        main = self.accelerator.is_main_process
        with counter(total=self.settings.steps, initial=state.step, desc="train", unit="step", disable=not main) as bar:
            while not self._ended(state):
                self._step(state, optimizer)
                average.update(self.accelerator.unwrap_model(self.backbone.policy), state.step)
                shown = {name: state.log[-1][name] for name in SHOWN if name in state.log[-1]}
                bar.set_postfix({name: f"{value:.4f}" for name, value in shown.items()}, refresh=False)
                bar.update()
                ended = self._ended(state)
                if ended or state.step % self.settings.validate_every == 0:
                    self._validate(state, average)
                ending = self._any_process(stop.requested)
                if ended or ending or state.step % self.settings.checkpoint_every == 0:
                    self._save(state, optimizer, average)
                if ending and not ended:
                    raise ResumeLater(
                        f"stopped after step {state.step} of {self.settings.steps}; run it again to continue"
                    )
        return state

    def _ended(self, state: TrainingState) -> bool:
        """Whether it is done. A function of the log, which all processes have alike, and a resumed run too."""
        return state.step >= self.settings.steps or stopped(state.log, self.settings.winner_stop) is not None

    def _step(self, state: TrainingState, optimizer: torch.optim.Optimizer) -> None:
        began = time.perf_counter()
        for block in optimizer.param_groups:
            block["lr"] = schedule.learning_rate(self.settings, state.step)
        sums: Tensor | None = None
        batches = self.batches.of_step(state.step)
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.backbone.policy):
                part = self.batches.loss(self.backbone, batch)
                # Processes average their gradients, and the step's loss is the sum of theirs.
                self.accelerator.backward(part.loss * self.accelerator.num_processes)
            for row in part.sums:
                sums = row if sums is None else sums + row
        norm = self.accelerator.clip_grad_norm_(self.backbone.policy.parameters(), self.settings.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        row = self.batches.row(self.accelerator.reduce(sums, "sum").tolist())
        if not math.isfinite(row["loss"]):
            raise Diverged(
                f"the loss of step {state.step + 1} is {row['loss']}: the policy diverged; lower train.learning_rate "
                f"or train.beta, or train in another train.precision than {self.settings.precision}"
                + "".join(f". {finding}" for finding in diagnose(state.log, state.validation))
            )
        images = row.pop("images")
        state.step += 1
        state.log.append(
            {
                "step": state.step,
                **row,
                "gradient_norm": processes.number(norm),
                "learning_rate": schedule.learning_rate(self.settings, state.step - 1),
                "images_per_s": images / (time.perf_counter() - began),
            }
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
            base = self.base or (state.validation or [row])[0]
            row["within_limits"] = float(within(row, base, self.settings.limits))
            better = _is_better(row, state)
            state.validation.append(row)
            if better:
                state.best_step, state.best_reward = state.step, row["reward"]
                if self._takes_part:
                    state.best_policy = processes.policy_state(self.accelerator, self.backbone.policy)
        if self.accelerator.is_main_process:
            logger.info("step %d: validation reward %.4f (best %.4f at step %d)", state.step, row["reward"],
                        state.best_reward, state.best_step)  # fmt: skip
        self.accelerator.wait_for_everyone()

    def _save(self, state: TrainingState, optimizer: torch.optim.Optimizer, average: Average) -> None:
        state.average, state.batches = average.state(), self.batches.state()
        if self._takes_part:
            state.policy = processes.policy_state(self.accelerator, self.backbone.policy)
            state.optimizer = processes.optimizer_state(self.accelerator, self.backbone.policy, optimizer)
        if self.accelerator.is_main_process:
            state.scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else {}
            checkpoints.save(self.cache, state)
        self.accelerator.wait_for_everyone()


def _is_better(row: Mapping[str, float], state: TrainingState) -> bool:
    """Whether a validation is the best so far: of the highest reward among those within the limits.

    Where none is, as a later round may begin, the first one stands in.
    """
    if not state.validation:
        return True
    best = next(one for one in state.validation if one["step"] == state.best_step)
    return bool(row["within_limits"]) and (row["reward"] > state.best_reward or not best["within_limits"])
