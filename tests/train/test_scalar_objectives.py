"""The other functions of z: numbers by hand, where they are least, and where they are the method's own."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from components.errors import BadInput
from components.settings import OBJECTIVE_KINDS, PreferenceSettings
from components.train.objectives import objective_of, require_columns
from components.train.pairs import Pairs
from tests.made import write_params
from tests.train.test_groups import row

Z = torch.tensor([-5.0, -0.7, 0.0, 0.4, 3.0, 30.0], dtype=torch.float64)


def value(kind: str, z: Tensor, columns: dict[str, Tensor] | None = None, **own: Any) -> Tensor:
    """Losses of pairs whose z is given: beta 2, winners' errors -z, the others 0."""
    count = len(z)
    policy = torch.cat([-z, torch.zeros(count, dtype=z.dtype)])
    one = torch.ones(count, dtype=z.dtype)
    pairs = Pairs(torch.arange(count), torch.arange(count) + count, weight=2.0 * one, gap=one, **(columns or {}))
    settings = OBJECTIVE_KINDS[kind].model_validate({"kind": kind, "beta": 2.0, **own})
    result = objective_of(settings)(policy, torch.zeros_like(policy), pairs)
    assert torch.allclose(result.margins, z.detach())
    assert not result.margins.requires_grad
    return result.losses / 2.0


def gradient(kind: str, columns: dict[str, Tensor] | None = None, **own: Any) -> Tensor:
    z = Z.clone().requires_grad_()
    (found,) = torch.autograd.grad(value(kind, z, columns, **own).sum(), z)
    return found


def column(number: float) -> Tensor:
    return torch.full_like(Z, number)


def test_golden_values() -> None:
    """z = .4: by hand, from sigmoid(.4) = .598688."""
    p = 0.598688
    z = torch.tensor([0.4], dtype=torch.float64)
    own = {"label_noise": torch.tensor([0.2], dtype=torch.float64)}
    expected = -0.8 * math.log(p) - 0.2 * math.log(1 - p)
    assert value("soft", z, own).item() == pytest.approx(expected, abs=1e-6)
    assert value("soft", z, label_noise=0.2).item() == pytest.approx(expected, abs=1e-6)
    margin = {"margin": torch.tensor([1.4], dtype=torch.float64)}
    assert value("margin", z, margin).item() == pytest.approx(math.log(1 + math.e), abs=1e-6)
    assert value("ipo", z).item() == pytest.approx(0.36)
    assert value("ipo", z, target=0.5).item() == pytest.approx(0.01)
    target = {"target": torch.tensor([0.3], dtype=torch.float64)}
    assert value("capo", z, target, scale=2.0).item() == pytest.approx(0.04)
    expected = p * math.log(p / 0.99) + (1 - p) * math.log((1 - p) / 0.01)
    assert value("dmpo", z).item() == pytest.approx(expected, abs=1e-5)


def test_margin_and_soft_without_their_columns_worth_are_the_methods_own() -> None:
    own = value("dp2o", Z)
    assert torch.equal(value("margin", Z, {"margin": column(0.0)}), own)
    assert torch.allclose(value("soft", Z, {"label_noise": column(0.0)}), own, rtol=0, atol=0)


def test_ipo_and_capo_are_0_exactly_at_their_targets() -> None:
    z = torch.tensor([0.75], dtype=torch.float64)
    assert value("ipo", z, target=0.75).item() == 0.0
    assert value("capo", z, {"target": torch.tensor([0.25], dtype=torch.float64)}, scale=3.0).item() == 0.0


@pytest.mark.parametrize("alpha", [0.01, 0.3])
def test_dmpos_gradient_is_the_published_one(alpha: float) -> None:
    p = torch.sigmoid(Z)
    expected = p * (1 - p) * (Z - math.log((1 - alpha) / alpha))
    assert torch.allclose(gradient("dmpo", label_noise=alpha), expected, atol=1e-12)
    assert torch.allclose(gradient("dmpo", {"label_noise": column(alpha)}, label_noise=None), expected, atol=1e-12)


def test_dmpo_vanishes_on_badly_misranked_pairs_where_the_methods_own_pulls_hardest() -> None:
    z = torch.tensor([-12.0], dtype=torch.float64, requires_grad=True)
    slopes = [torch.autograd.grad(value(kind, z).sum(), z)[0].item() for kind in ("dmpo", "dp2o")]
    assert abs(slopes[0]) < 2e-4
    assert slopes[1] == pytest.approx(-1.0, abs=1e-4)


def test_soft_and_dmpo_are_least_where_the_chance_is_the_labels() -> None:
    least = math.log(0.8 / 0.2)
    z = torch.tensor([least - 0.1, least, least + 0.1], dtype=torch.float64)
    for kind in ("soft", "dmpo"):
        below, at, above = value(kind, z, label_noise=0.2).tolist()
        assert at < min(below, above)
    assert value("dmpo", z, label_noise=0.2)[1].item() == pytest.approx(0.0, abs=1e-12)


def test_a_pairs_own_noise_is_bounded_for_dmpo() -> None:
    """At 0 the divergence were infinite, at 1/2 the least would be at z = 0."""
    assert torch.equal(
        value("dmpo", Z, {"label_noise": column(0.0)}, label_noise=None),
        value("dmpo", Z, {"label_noise": column(0.01)}, label_noise=None),
    )
    assert torch.isfinite(value("dmpo", 100 * Z)).all()


@pytest.mark.parametrize("kind", [kind for kind, own in OBJECTIVE_KINDS.items() if issubclass(own, PreferenceSettings)])
def test_all_push_an_undecided_pair_towards_its_winner(kind: str) -> None:
    columns = {"margin": column(0.5), "label_noise": column(0.1), "target": column(0.5)}
    slope = gradient(kind, columns)[2]
    assert slope < 0.0


@pytest.mark.parametrize(
    ("objective", "needed"),
    [
        ("soft", "label_noise"),
        ("margin", "margin"),
        ("capo", "target"),
        ({"kind": "dmpo", "label_noise": None}, "label_noise"),
    ],
)
def test_without_its_column_an_objective_is_refused_by_name(objective: Any, needed: str, tmp_path: Any) -> None:
    kind = objective if isinstance(objective, str) else objective["kind"]
    with pytest.raises(
        BadInput,
        match=rf"train\.objective {kind} needs the {needed} of each pair, which pair\.builder dp2o .* leaves empty",
    ):
        write_params(tmp_path, train={"objective": objective})
    settings = OBJECTIVE_KINDS[kind].model_validate({"beta": 1.0} | ({} if isinstance(objective, str) else objective))
    rows = [row("ab", 3, 1) | {needed: 0.1}, row("ab", 3, 2)]
    require_columns(settings, rows[:1])
    with pytest.raises(BadInput, match=rf"needs the {needed} .* none for 1 of 2 pairs, first for 3 against 2 of ab"):
        require_columns(settings, rows)


def test_the_way_out_is_named(tmp_path: Any) -> None:
    with pytest.raises(BadInput, match=r"leaves empty; it is filled by pair\.filters strength"):
        write_params(tmp_path, train={"objective": "margin"})
    filters = [{"kind": "strength", "margin_scale": 0.5}]
    assert (
        write_params(tmp_path, pair={"filters": filters}, train={"objective": "margin"}).train.objective.kind
        == "margin"
    )


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("dp2o", {}),
        ("soft", {}),
        ("soft", {"label_noise": 0.2}),
        ("ipo", {"target": 0.5}),
        ("dmpo", {}),
        ("dmpo", {"label_noise": 0.2}),
    ],
)
def test_the_loss_where_policy_and_reference_agree_is_what_the_settings_say(kind: str, own: dict[str, Any]) -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    noise = {} if own or kind != "soft" else {"label_noise": torch.tensor([0.3], dtype=torch.float64)}
    settings = OBJECTIVE_KINDS[kind].model_validate({"kind": kind, "beta": 2.0, **own})
    assert value(kind, zero, noise, **own).item() == pytest.approx(settings.loss_at_zero)


def test_no_such_loss_is_claimed_where_it_differs_by_pair() -> None:
    for settings in (
        OBJECTIVE_KINDS["margin"].model_validate({"kind": "margin", "beta": 2.0}),
        OBJECTIVE_KINDS["capo"].model_validate({"kind": "capo", "beta": 2.0}),
        OBJECTIVE_KINDS["dmpo"].model_validate({"kind": "dmpo", "beta": 2.0, "label_noise": None}),
        OBJECTIVE_KINDS["winners_only"].model_validate({"kind": "winners_only"}),
    ):
        assert settings.loss_at_zero is None
