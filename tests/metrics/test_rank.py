"""The ranking metric: its network, its head on photos it never saw, and the recipe's pieces."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from components.artifacts.images import to_tensor
from components.backbones.restorers.restorer import load_restorer
from components.errors import BadInput
from components.metrics.base import load
from components.metrics.rank_effnet import Backbone
from components.metrics.rank_head import head_file
from components.metrics.rank_nss import SceneStatistics
from recipes.rank_degradations import DEGRADATIONS, degrade
from recipes.restored_crops import low_resolution, restored
from recipes.train_rank import FEATURES, find_photos, fit, pairwise_accuracy, ranking_loss, variants

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT / "data/photos"


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    photo = cv2.imread(str(PHOTOS / "astronaut.jpg"))
    return photo[60:188, 150:278, ::-1].astype(np.float32) / 255


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_degradations_repeat_and_grow(name: str, crop: np.ndarray) -> None:
    mild, again, strong = (
        degrade(crop, name, strength, np.random.default_rng(3)).astype(float) for strength in (0.1, 0.1, 0.9)
    )
    assert mild.shape == crop.shape
    assert np.array_equal(mild, again)
    errors = [np.abs(image - 255 * crop).mean() for image in (mild, strong)]
    assert 0.1 < errors[0] < errors[1]


@pytest.mark.parametrize("name", FEATURES)
def test_head_ranks_photos_it_never_saw(name: str) -> None:
    """On committed photos, which no training saw: clean above degraded in nearly all of 10 photos x 13 ways."""
    metric = load(name)
    context = metric.prepare(None, None)
    won = []
    for photo in sorted(PHOTOS.glob("*.jpg"))[:20:2]:
        image = cv2.imread(str(photo))
        height, width = image.shape[:2]
        top, left = height // 2 - 64, width // 2 - 64
        clean = image[top : top + 128, left : left + 128, ::-1].astype(np.float32) / 255
        degraded = [degrade(clean, way, 0.6, np.random.default_rng(1)) for way in DEGRADATIONS]
        scores = metric(to_tensor(np.rint(clean * 255).astype(np.uint8), *degraded), context)
        won.append((scores[0] > scores[1:]).float().mean().item())
    assert np.mean(won) > 0.9


def test_a_photograph_ranks_above_the_restorers_picture_of_it() -> None:
    """On photos that trained nothing; the head before this one had it right in a third of them."""
    restorer = load_restorer("realesrgan-x4plus", Path(), torch.device("cpu"))
    metric = load("rank_effnet")
    context = metric.prepare(None, None)
    won = []
    for photo in sorted(PHOTOS.glob("*.jpg"))[5:21:2]:
        image = cv2.imread(str(photo))
        top, left = image.shape[0] // 2 - 64, image.shape[1] // 2 - 64
        hr = np.ascontiguousarray(image[top : top + 128, left : left + 128, ::-1])
        lr = low_resolution(hr, "bicubic", np.random.default_rng(0))
        scores = metric(to_tensor(hr, restored(lr, restorer)), context)
        won.append(float(scores[0] > scores[1]))
    assert np.mean(won) > 0.7


@pytest.mark.parametrize("name", FEATURES)
def test_card_tells_data_seed_and_held_out_figures(name: str) -> None:
    card = json.loads(head_file(name).with_suffix(".json").read_text())
    assert card["metric"] == name
    assert set(card["held_out_accuracy"]) == set(DEGRADATIONS)
    assert card["photos"]["held_out"] >= 10
    assert np.mean([strong for _, strong, _ in card["held_out_accuracy"].values()]) > 0.9
    assert head_file(name).stat().st_size < 1_000_000


def test_ranking_loss_by_hand() -> None:
    """Clean 2, mild 1, strong 0 at margin 1: gaps 1, 1 and 2/2, so softplus(0) = ln 2 each."""
    scores = torch.tensor([[2.0, 1.0, 0.0]])
    torch.testing.assert_close(ranking_loss(scores), torch.tensor(2.0).log())
    assert ranking_loss(scores.flip(1)) > ranking_loss(torch.zeros(1, 3)) > ranking_loss(scores)


def test_pairwise_accuracy_by_hand() -> None:
    ways = len(DEGRADATIONS)
    rows = np.zeros((2, 1 + 2 * ways))
    rows[0, 0] = 1.0  # clean best, all degraded equal
    rows[1, 1] = 2.0  # the first degradation's mild variant above clean, the rest tied with it
    accuracy = pairwise_accuracy(rows)
    first, *others = DEGRADATIONS
    assert accuracy[first] == [0.5, 0.75, 0.75]
    assert accuracy[others[0]] == [0.75, 0.75, 0.5]


def test_variants_are_a_function_of_files_and_seed() -> None:
    photos = find_photos(PHOTOS)[:1]
    first, second, other = (next(iter(variants(photos, 3, seed))).images for seed in (0, 0, 1))
    assert first.shape == (1 + 2 * len(DEGRADATIONS), 128, 128, 3)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_fit_learns_a_ranking_that_is_there() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(64, 3, 20, generator=generator)
    features[:, :, 0] = torch.tensor([3.0, 0.0, -3.0]) + 0.1 * features[:, :, 0]
    scores = fit(features, epochs=40, seed=0)(features.flatten(0, 1)).view(64, 3)
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
