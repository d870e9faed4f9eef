"""Batches of LR images whose restorations are rewarded through metrics with a gradient (Bird-SR, arXiv 2602.07069).

An LR image with an HR image x* takes the paired branch: x* is noised to t, one prediction of the policy gives x0_hat,

    L = t^gamma lambda_D D(x0_hat, x*) + (1 - t^gamma) lambda_r max(0, r(x*) - r(x0_hat) + margin),

so that noisy steps learn fidelity and late ones the reward, no further than a little beyond the HR image's own. One
without HR takes the real branch: policy and reference sample from the same noise, the policy's last step with a
gradient, and with features f of a frozen network

    L = lambda_r max(0, target - r(x_hat)) + lambda_s mean (f(x_hat) - f(x_hat_reference))^2.

Every maximum is an image's own, before the mean over the step. No candidates, scores or pairs take part.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from components.backbones.base import Backbone
from components.backbones.samplers.last_step import clean_of, restored_with_gradient
from components.errors import BadInput
from components.metrics.gradients import load_features, load_gradual
from components.settings import BirdSource, TrainSettings
from components.train import schedule
from components.train.batches import BatchLoss, OfStepAlone
from components.train.conditions import Conditions
from components.train.groups import GroupImages

SUMS = ("loss", "images", "paired", "distortion", "reward", "hr_reward", "active", "real", "real_reward", "structure")
"""What is summed over the images of a step, but for the loss, which is their mean already."""


@dataclass(frozen=True)
class RewardBatch:
    """Some LR images of a step, all with HR or all without.

    Attributes:
        step: from 0.
        images: lr_id of each, with how often it came before in the step, see `schedule.occurrences`.
        total: images of the whole step, over all processes.
    """

    step: int
    images: tuple[tuple[str, int], ...]
    total: int


class RewardBatches(OfStepAlone):
    """LR images in shuffled epochs, `train.groups_per_step` a step and at most `train.micro_batch` a pass.

    Args:
        settings: the train block of params.yaml.
        source: its source.
        backbone: encodes LR images.
        has_hr: whether there is an HR image, by lr_id; of the images that are trained on.
        images: LR and HR images.
        accelerator: device, precision and processes.
        sampled: noise levels of the backbone's sampler, for train.t_distribution sampler.

    Raises:
        BadInput: the images of a step cannot be dealt evenly to the processes, or a metric has no gradient.
    """

    def __init__(
        self,
        settings: TrainSettings,
        source: BirdSource,
        backbone: Backbone,
        has_hr: Mapping[str, bool],
        images: GroupImages,
        accelerator: Accelerator,
        sampled: Sequence[float] = (),
    ) -> None:
        self.settings, self.source, self.has_hr, self.images = settings, source, has_hr, images
        self.accelerator, self.sampled = accelerator, sampled
        self.conditions = Conditions(backbone, images, settings.condition_cache_mb * 2**20)
        device = accelerator.device
        self._reward = load_gradual(source.reward, device)
        self._distortion = load_gradual(source.distortion, device) if any(has_hr.values()) else None
        self._features = load_features(device) if not all(has_hr.values()) else None
        if settings.groups_per_step % accelerator.num_processes:
            raise BadInput(
                f"train.groups_per_step {settings.groups_per_step} LR images cannot be dealt evenly to "
                f"{accelerator.num_processes} processes: make it a multiple"
            )
        if accelerator.num_processes > 1 and self._distortion is not None and self._features is not None:
            raise BadInput(
                "train.source bird_sr takes LR images with HR and without in passes of their own, whose number differs "
                "between processes: train in one process, or on images of one kind"
            )

    def of_step(self, step: int) -> list[RewardBatch]:
        """This process's LR images of a step; those with HR apart from those without."""
        per_step = self.settings.groups_per_step
        lr_ids = schedule.groups_of_step(list(self.has_hr), step, per_step, self.settings.seed)
        numbered = list(zip(lr_ids, schedule.occurrences(lr_ids), strict=True))
        rank, world, size = self.accelerator.process_index, self.accelerator.num_processes, self.settings.micro_batch
        mine = numbered[rank::world]
        kinds = [[one for one in mine if self.has_hr[one[0]] is kind] for kind in (True, False)]
        return [
            RewardBatch(step, tuple(kind[at : at + size]), per_step)
            for kind in kinds
            for at in range(0, len(kind), size)
        ]

    def loss(self, backbone: Backbone, batch: RewardBatch) -> BatchLoss:
        """Mean over the step's images of their losses, and what the log is made of."""
        paired = self.has_hr[batch.images[0][0]]
        losses, sums = self._paired(backbone, batch) if paired else self._real(backbone, batch)
        named = {"loss": losses.detach().double().sum() / batch.total, "images": losses.new_tensor(len(losses))} | sums
        zero = losses.new_zeros((), dtype=torch.float64)
        row = torch.stack([named[name].double() if name in named else zero for name in SUMS])
        return BatchLoss(losses.sum() / batch.total, row[None])

    def row(self, sums: Sequence[float]) -> dict[str, float]:
        """Means over the step's images of a kind; not a number where the step has none of it."""
        named = dict(zip(SUMS, sums, strict=True))

        def mean(name: str, of: str) -> float:
            return named[name] / named[of] if named[of] else math.nan

        found = {"loss": named["loss"], "images": named["images"]}
        if any(self.has_hr.values()):
            found |= {name: mean(name, "paired") for name in ("distortion", "reward", "hr_reward", "active")}
        if not all(self.has_hr.values()):
            found |= {name: mean(name, "real") for name in ("real_reward", "structure")}
        return found

    def _paired(self, backbone: Backbone, batch: RewardBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses `[B]` of LR images with HR."""
        source, device = self.source, self.accelerator.device
        lr_ids = [lr_id for lr_id, _ in batch.images]
        hr = torch.cat([self.images.hr(lr_id) for lr_id in lr_ids]).to(device)
        condition = self.conditions.of(lr_ids, device)
        with torch.no_grad():
            latents = backbone.encode(hr)
            hr_reward = self._reward(hr)
        t, noise = self._drawn(batch, tuple(latents.shape[1:]))
        with self.accelerator.autocast():
            x, _ = backbone.noised(latents, condition, t, noise)
            clean = clean_of(x, t, backbone.predict(x, t, condition, "policy"))
            restored = backbone.decode(backbone.sampler.finish(backbone, clean, condition), condition)
        assert self._distortion is not None  # there is an HR image
        distortion, reward = -self._distortion(restored, hr), self._reward(restored)
        noisy = t**source.gamma
        lacking = F.relu(hr_reward - reward + source.margin)
        losses = noisy * source.distortion_weight * distortion + (1.0 - noisy) * source.reward_weight * lacking
        found = {
            "paired": losses.new_tensor(len(losses)),
            "distortion": distortion.detach().sum(),
            "reward": reward.detach().sum(),
            "hr_reward": hr_reward.sum(),
            "active": (lacking > 0.0).double().sum(),
        }
        return losses, found

    def _real(self, backbone: Backbone, batch: RewardBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses `[B]` of LR images without HR."""
        source = self.source
        condition = self.conditions.of([lr_id for lr_id, _ in batch.images], self.accelerator.device)
        shape = backbone.latent_shape(*condition.upsampled.shape[-2:])
        _, noise = self._drawn(batch, backbone.sampler.noise_shape(shape))
        with self.accelerator.autocast():
            reference = restored_with_gradient(backbone, condition, noise, "reference")
            restored = restored_with_gradient(backbone, condition, noise, "policy")
        assert self._features is not None  # there is an LR image without HR
        reward = self._reward(restored)
        with torch.no_grad():
            wanted = self._features.maps(reference.float())
        apart = [
            (found - known).square().flatten(1).mean(dim=1)
            for found, known in zip(self._features.maps(restored.float()), wanted, strict=True)
        ]
        structure = torch.stack(apart).mean(dim=0)
        losses = source.reward_weight * F.relu(source.target - reward) + source.structure_weight * structure
        return losses, {
            "real": losses.new_tensor(len(losses)),
            "real_reward": reward.detach().sum(),
            "structure": structure.detach().sum(),
        }

    def _drawn(self, batch: RewardBatch, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """t `[B]` and noise `[B, *shape]`, a draw for each image."""
        draws = [
            schedule.draw_noise(self.settings, batch.step, lr_id, shape, 1, self.sampled, occurrence)
            for lr_id, occurrence in batch.images
        ]
        device = self.accelerator.device
        return torch.cat([t for t, _ in draws]).to(device), torch.cat([noise for _, noise in draws]).to(device)
