"""Each promise of a backbone is found broken where it is, and by its own name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from components.backbones.base import Backbone, Condition
from components.backbones.check import CHECKS, check
from components.backbones.residual_flow import ResidualFlowConfig
from components.cli.app import app
from tests.examples.one_conv import OneConv, OneConvFlow
from tests.made import REPOSITORY, tiny_model

CPU = torch.device("cpu")


class Whole(OneConvFlow):
    """The example of a family."""

    @classmethod
    def made(cls) -> "Whole":
        torch.manual_seed(0)
        return cls(ResidualFlowConfig(scale=2), OneConv(), 2, CPU)


class SumsOverTheBatch(Whole):
    def _context(self, condition: Condition) -> Tensor:
        return super()._context(condition) + 9.0 * condition.upsampled.mean()


class DrawsNoiseItself(Whole):
    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        return (super().decode(latents, condition) + 0.01 * torch.rand(latents.shape)).clamp(0, 1)


class Unclamped(Whole):
    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        return latents * 3.0


class Deaf(Whole):
    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        return condition.upsampled


class TrainsItsReference(Whole):
    @classmethod
    def made(cls) -> "Whole":
        model = super().made()
        model.reference = model.policy
        return model


class StartsElsewhere(Whole):
    @classmethod
    def made(cls) -> "Whole":
        model = super().made()
        with torch.no_grad():
            model.policy.layer.bias += 0.1  # type: ignore[union-attr, operator]
        return model


class SumsErrors(Whole):
    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        policy, reference = super().errors(latents, condition, t, noise)
        return policy * latents[0].numel(), reference * latents[0].numel()


class SavesNothingNew(Whole):
    def load_policy(self, folder: Path) -> None:
        pass


class Raises(Whole):
    def encode(self, images: Tensor) -> Tensor:
        raise ValueError("no latents today")


class StopsGradients(Whole):
    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        policy, reference = super().errors(latents, condition, t, noise)
        return policy + 0.0 * reference, reference

    @classmethod
    def made(cls) -> "Whole":
        model = super().made()
        model.policy.requires_grad_(False)
        return model


def broken(backbone: Backbone) -> dict[str, str]:
    return {outcome.name: outcome.seen for outcome in check(backbone, 8) if not outcome.holds}


def test_whole_families_keep_every_promise() -> None:
    for model in (Whole.made(), tiny_model()):
        before = model.digest("policy")
        outcomes = list(check(model, 8))
        assert [outcome.name for outcome in outcomes] == list(CHECKS)
        assert [outcome for outcome in outcomes if not outcome.holds or outcome.change] == []
        assert model.digest("policy") == before
        assert all(parameter.grad is None for parameter in model.policy.parameters())


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (SumsOverTheBatch, {"batch independence", "rows of errors"}),
        (DrawsNoiseItself, {"determinism"}),
        (Unclamped, {"size and range"}),
        (Deaf, {"seeds count"}),
        (TrainsItsReference, {"frozen reference"}),
        (StartsElsewhere, {"policy starts as reference"}),
        (SumsErrors, {"errors"}),
        (SavesNothingNew, {"save and load"}),
        (StopsGradients, {"gradients"}),
    ],
)
def test_what_is_broken_is_found(kind: type[Whole], found: set[str]) -> None:
    assert found <= set(broken(kind.made()))


def test_what_raises_has_failed_and_the_others_go_on() -> None:
    found = broken(Raises.made())
    assert found["encode and decode"] == "ValueError: no latents today"
    assert "determinism" not in found


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check-backbone", *arguments], env={"COLUMNS": "160"})
    return result.exit_code, result.stdout + (result.stderr if result.exit_code else "")


def test_the_projects_own_backbone_is_checked() -> None:
    code, text = run("--params", str(REPOSITORY / "params.yaml"), "--side", "8")
    assert code == 0, text
    assert text.splitlines()[-1] == f"restorer_flow: {len(CHECKS)} of {len(CHECKS)} promises hold"


def test_a_broken_promise_is_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> Backbone:
        return SumsErrors.made()

    monkeypatch.setattr("components.backbones.loading.load_backbone", load)
    code, text = run("--params", str(REPOSITORY / "params.yaml"), "--side", "8", "--json")
    assert code == 2
    (failed,) = [one for one in json.loads(text) if one["name"] == "errors"]
    assert not failed["holds"]
    assert failed["change"].startswith("error is the mean over C, H, W")
