"""A candidate's clean latent as bytes: one safetensors file with one tensor, in the dtype that the sampler gave."""

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from components.errors import BadInput

NAME = "latent"


def member(lr_id: str, index: int) -> str:
    """Name in a candidates' tar."""
    return f"{lr_id}.{index:03d}.latent.safetensors"


def encode(latent: Tensor) -> bytes:
    """Bytes of x0 `[...]`; the same values give the same bytes."""
    content: bytes = save({NAME: latent.detach().cpu().contiguous()})
    return content


def decode(content: bytes, where: str) -> Tensor:
    """x0 `[...]`, in the dtype it was stored in.

    Raises:
        BadInput: `where` does not hold such a file.
    """
    try:
        latent: Tensor = load(content)[NAME]
    except (SafetensorError, KeyError) as error:
        raise BadInput(f"{where} is no latent ({error}); remove data/candidates and run generate again") from error
    return latent
