"""The ranking metrics: their heads on photos they never saw, and the recipe's pieces."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from components.artifacts.images import to_tensor
from components.errors import BadInput
from components.metrics.base import load
from components.metrics.rank_degradations import CHAINS, DEGRADATIONS, variants
from components.metrics.rank_effnet import Backbone
from components.metrics.rank_head import head_file
from components.metrics.rank_nss import SceneStatistics
from components.metrics.train_rank import FEATURES, crops, find_photos, fit, pairwise_accuracy, ranking_loss

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT / "data/photos"
VARIANTS = 43
"""The crop, two half-restored, 13 degradations of it and 7 of the restored, mild and strong each."""


def centre(path: Path) -> np.ndarray:
    """The middle 128 px of a photo, in [0, 1]."""
    photo = cv2.imread(str(path))
    top, left = photo.shape[0] // 2 - 64, photo.shape[1] // 2 - 64
    return photo[top : top + 128, left : left + 128, ::-1].astype(np.float32) / 255


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_degradations_repeat_and_grow(name: str) -> None:
    crop = centre(PHOTOS / "astronaut.jpg")
    mild, again, strong = (
        DEGRADATIONS[name](crop, strength, np.random.default_rng(3)).clip(0, 1) for strength in (0.1, 0.1, 0.9)
    )
    assert mild.shape == crop.shape
    assert np.array_equal(mild, again)
    errors = [255 * np.abs(image - crop).mean() for image in (mild, strong)]
    assert 0.1 < errors[0] < errors[1]


def test_variants_and_chains_fit_together() -> None:
    crop = centre(PHOTOS / "astronaut.jpg")
    images, again = (variants(crop, np.random.default_rng(5)) for _ in range(2))
    assert images.shape == (VARIANTS, 128, 128, 3)
    assert np.array_equal(images, again)
    assert sorted({position for chain in CHAINS.values() for position in chain}) == list(range(VARIANTS))
    errors = np.abs(images - 255 * crop).mean((1, 2, 3))
    for best, middle, worst in CHAINS.values():
        assert errors[middle] < errors[worst]
        assert best == 1 or errors[best] < 0.5


@pytest.mark.parametrize("name", FEATURES)
def test_head_ranks_photos_it_never_saw(name: str) -> None:
    """On committed photos, which no training saw, the best is above the worst of nearly all chains."""
    metric = load(name)
    context = metric.prepare(None, None)
    scores = []
    for number, path in enumerate(sorted(PHOTOS.glob("*.jpg"))[:12:2]):
        images = variants(centre(path), np.random.default_rng(number))
        scores.append(metric(to_tensor(*images), context).double().numpy())
    accuracy = pairwise_accuracy(np.stack(scores))
    assert np.mean([best_above_worst for _, best_above_worst, _ in accuracy.values()]) > 0.85


@pytest.mark.parametrize("name", FEATURES)
def test_card_tells_data_seed_and_held_out_figures(name: str) -> None:
    card = json.loads(head_file(name).with_suffix(".json").read_text())
    assert card["metric"] == name
    assert set(card["held_out_accuracy"]) == set(CHAINS)
    assert card["photos"]["held_out"] >= 10
    assert np.mean([best for _, best, _ in card["held_out_accuracy"].values()]) > 0.9
    assert head_file(name).stat().st_size < 1_000_000


def test_ranking_loss_by_hand() -> None:
    """Scores 2, 1, 0 at margin 1: gaps 1, 1 and 2/2, so softplus(0) = ln 2 each."""
    scores, chain = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0, 1, 2]])
    torch.testing.assert_close(ranking_loss(scores, chain), torch.tensor(2.0).log())
    assert ranking_loss(scores.flip(1), chain) > ranking_loss(torch.zeros(1, 3), chain) > ranking_loss(scores, chain)


def test_pairwise_accuracy_by_hand() -> None:
    rows = np.zeros((2, VARIANTS))
    rows[0, 0] = 1.0  # clean best, all others equal
    rows[1, 3] = 2.0  # the first degradation's mild variant above clean, the others tied with it
    accuracy = pairwise_accuracy(rows)
    assert accuracy["blur"] == [0.5, 0.75, 0.75]
    assert accuracy["noise"] == [0.75, 0.75, 0.5]
    assert accuracy["restored_noise"] == [0.5, 0.5, 0.5]


def test_crops_are_a_function_of_files_and_seed() -> None:
    photos = find_photos(PHOTOS)[:1]
    first, second, other = (next(iter(crops(photos, 3, seed))).images for seed in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_fit_learns_a_ranking_that_is_there() -> None:
    generator, chain = torch.Generator().manual_seed(0), torch.tensor([[0, 1, 2]])
    features = torch.randn(64, 3, 20, generator=generator)
    features[:, :, 0] = torch.tensor([3.0, 0.0, -3.0]) + 0.1 * features[:, :, 0]
    scores = fit(features, epochs=40, seed=0, positions=chain)(features.flatten(0, 1)).view(64, 3)
    assert (scores[:, 0] > scores[:, 1]).float().mean() > 0.95
    assert (scores[:, 1] > scores[:, 2]).float().mean() > 0.95


def test_statistics_are_finite_where_there_is_nothing_to_measure() -> None:
    extract = SceneStatistics(torch.device("cpu"))
    features = extract(torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64), torch.rand(3, 64, 64)]))
    assert features.shape == (3, extract.size)
    assert torch.isfinite(features).all()
    torch.testing.assert_close(features[0], features[1], atol=1e-3, rtol=0)


def test_a_foreign_weight_file_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(BadInput, match="is no EfficientNet-Lite0"):
        Backbone(tmp_path / "other.pth")


def test_too_few_photos(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has 0 photos"):
        find_photos(tmp_path)
