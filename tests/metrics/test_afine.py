"""A-FINE's adapter on a stand-in: pyiqa's own module and heads, with a tiny encoder and random weights."""

from typing import Any

import pytest
import torch
from pyiqa.archs.afine_arch import AFINE, AFINEDhead, AFINELearnLambda, AFINENLM_FR_Fit_with_limit, AFINENLM_NR_Fit
from pyiqa.archs.afine_arch import AFINEQhead as AFineQhead
from torch import nn

from components.errors import BadInput
from components.metrics.afine import AFine, AFineTerms
from components.metrics.suite import Suite
from components.metrics.table import TABLE

CHANNELS = (3, 8, 8)
CPU = torch.device("cpu")


class TinyClip(nn.Module):
    """Two feature maps `[M, tokens, 8]` of 32 px patches, like CLIP ViT-B/32's, and a count of the images it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix = nn.Conv2d(3, 8, 32, 32), nn.Linear(8, 8)
        self.images = 0

    def encode_image(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        self.images += len(images)
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return tokens.mean(1), [tokens, self.mix(tokens)]


@pytest.fixture
def net() -> Any:
    torch.manual_seed(0)
    module = AFINE.__new__(AFINE)
    nn.Module.__init__(module)
    module.mean, module.std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    module.clip_model = TinyClip()
    module.net_qhead = AFineQhead(chns=CHANNELS, input_dim=8, hidden_dim=4)
    module.net_dhead = AFINEDhead(chns=CHANNELS)
    module.net_scale_fr = AFINENLM_FR_Fit_with_limit(2, -2, 0.5, 0.15, 0.95, 0.05, 0.70, 0.01)
    module.net_scale_nr = AFINENLM_NR_Fit(2, -2, 0.1, 0.05)
    module.adapter = AFINELearnLambda(k=5)
    return module.eval().requires_grad_(False)


def metrics(net: Any) -> tuple[AFine, AFine]:
    shared = AFineTerms(net)
    fidelity, naturalness = (AFine(TABLE[name], CPU, name, shared) for name in ("afine_fr", "afine_nr"))
    return fidelity, naturalness


def test_batch_equals_pyiqa_one_at_a_time(net: Any, hr: torch.Tensor, candidates: torch.Tensor) -> None:
    expected = {}
    for term in ("afine_fr", "afine_nr"):
        net.model_type = term
        # Clones: pyiqa's module normalises what it is given in place.
        expected[term] = torch.cat([net(image[None].clone(), hr.clone()).reshape(1) for image in candidates])
    kept = hr.clone(), candidates.clone()
    for metric in metrics(net):
        values = metric(candidates, metric.prepare(hr, None))
        torch.testing.assert_close(values, expected[metric.info.name])
        assert values.std() > 1e-3
    assert torch.equal(hr, kept[0])
    assert torch.equal(candidates, kept[1])


def test_one_forward_serves_both_terms(net: Any, hr: torch.Tensor, candidates: torch.Tensor) -> None:
    suite = Suite(metrics(net))
    suite.score(candidates, hr, None)
    assert net.clip_model.images == 1 + len(candidates)
    other = candidates.flip(0)
    result = suite.score(other, hr, None)
    assert net.clip_model.images == 1 + 2 * len(candidates)
    again = suite.score(candidates, hr, None)
    torch.testing.assert_close(
        torch.from_numpy(result.values["afine_fr"]).flip(0), torch.from_numpy(again.values["afine_fr"])
    )


def test_naturalness_needs_no_hr(net: Any, hr: torch.Tensor, candidates: torch.Tensor) -> None:
    fidelity, naturalness = metrics(net)
    alone = naturalness(candidates, naturalness.prepare(None, None))
    torch.testing.assert_close(alone, naturalness(candidates, naturalness.prepare(hr, None)))
    with pytest.raises(BadInput, match="afine_fr compares with the HR image"):
        fidelity.prepare(None, None)


def test_sides_must_be_multiples_of_the_patch(net: Any, candidates: torch.Tensor) -> None:
    _, naturalness = metrics(net)
    with pytest.raises(BadInput, match="multiples of 32 px, these are 100 x 128"):
        naturalness(candidates[..., :100], naturalness.prepare(None, None))
