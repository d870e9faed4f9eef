import pytest
import torch

from components.artifacts import latents
from components.errors import BadInput


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_latent_comes_back_bit_for_bit(dtype: torch.dtype) -> None:
    latent = torch.randn(4, 8, 6, generator=torch.manual_seed(0)).to(dtype)
    content = latents.encode(latent)
    assert torch.equal(latents.decode(content, "x"), latent)
    assert latents.decode(content, "x").dtype == dtype
    assert latents.encode(latent.transpose(1, 2).contiguous().transpose(1, 2)) == content


@pytest.mark.parametrize("content", [b"", b"no safetensors", latents.encode(torch.zeros(2))[:-1]])
def test_what_is_no_latent_is_named(content: bytes) -> None:
    with pytest.raises(BadInput, match=r"member a\.000\.latent\.safetensors is no latent"):
        latents.decode(content, f"member {latents.member('a', 0)}")
