"""C-SD2 against stock diffusers and plain two-call computation, on tiny pipelines of the real classes."""

import copy
import gc
import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import ControlNetModel, DDPMScheduler, StableDiffusionControlNetPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.backbones import sd2_controlnet
from components.backbones.base import Branch, Condition
from components.backbones.controlnet import pretrained
from components.backbones.restore import sample, sample_rows
from components.backbones.sd2_controlnet import SD2ControlNet
from components.errors import BadInput
from tests.backbones.tiny_pipelines import SD1, SD2, sd_settings, write_bare_control, write_sd_base, write_sd_control

CPU = torch.device("cpu")
BRANCHES: tuple[Branch, ...] = ("policy", "reference")


class Folders:
    """A base with its ControlNet, on disk."""

    def __init__(self, root: Path, **base: Any) -> None:
        self.base = write_sd_base(root / "base", **base)
        self.control = write_sd_control(root / "control", self.base)

    def load(self, **changes: Any) -> SD2ControlNet:
        return SD2ControlNet.load(self.control, sd_settings(self.base, self.control, **changes), CPU)

    @cached_property
    def plain(self) -> SD2ControlNet:
        """As the settings have it, loaded once: only for tests that change nothing of it."""
        return self.load()

    def copy(self, root: Path) -> "Folders":
        shutil.copytree(self.base, root / "base")
        shutil.copytree(self.control, root / "control")
        twin = copy.copy(self)
        twin.base, twin.control = root / "base", root / "control"
        return twin


@pytest.fixture(scope="module")
def sd2(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("sd2"))


@pytest.fixture(scope="module")
def sd1_v(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """SD 1.x's kind of network, predicting v, its noise levels spaced otherwise."""
    root = tmp_path_factory.mktemp("sd1_v")
    return Folders(root, network=SD1, prediction_type="v_prediction", timestep_spacing="trailing")


def with_settings(model: SD2ControlNet, **changes: Any) -> SD2ControlNet:
    """The same networks under other settings of the sampler."""
    twin = copy.copy(model)
    twin.settings = model.settings.model_copy(update=changes)
    return twin


def lrs(count: int = 2, height: int = 8, width: int = 8) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.manual_seed(7))


def change(network: nn.Module, seed: int = 5) -> None:
    """Move every trainable weight: a policy that is not its reference any more."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight), alpha=0.05)


def denoising(model: SD2ControlNet, count: int = 2) -> tuple[Tensor, Condition, Tensor, Tensor]:
    """Arguments of `errors` for some candidates of one LR, the first on a high noise level."""
    torch.manual_seed(3)
    shape = (count, *model.latent_shape(32, 32))
    condition = model.condition(lrs(1), ("a photo",)).repeat(count)
    return torch.randn(shape), condition, torch.linspace(0.9, 0.2, count), torch.randn(shape)


def stock_image(folders: Folders, control: Path, upsampled: Tensor, prompts: list[str], **call: Any) -> Tensor:
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        folders.base, controlnet=ControlNetModel.from_pretrained(control), safety_checker=None
    )
    pipeline.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    images: Tensor = pipeline(prompts, image=upsampled, output_type="pt", num_inference_steps=3, **call).images
    return images


def noise_as_stock_draws(shape: tuple[int, ...], seeds: tuple[int, ...]) -> Tensor:
    """Noise `[M, steps, C, h, w]` whose draws are those of a generator a candidate, in stock's order."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.cat([torch.randn(1, *shape[1:], generator=one) for _ in range(shape[0])])
                        for one in generators])  # fmt: skip


@pytest.mark.parametrize("guidance_scale", [3.5, 1.0])
@pytest.mark.parametrize("kind", ["sd2", "sd1_v"])
def test_stock_diffusers_gives_the_same_image(
    kind: str, guidance_scale: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folders: Folders = request.getfixturevalue(kind)
    model = folders.load(guidance_scale=guidance_scale, conditioning_scale=0.8)
    change(model.policy)
    model.save(tmp_path)
    prompts = ("a cat, sharp", "")
    condition = model.condition(lrs(height=16), prompts)
    noise = noise_as_stock_draws(model.noise_shape(64, 32), (11, 12))
    call: dict[str, Any] = {
        "negative_prompt": ["blur, noise"] * 2,
        "guidance_scale": guidance_scale,
        "controlnet_conditioning_scale": 0.8,
    }

    def stock(control: Path, **changes: Any) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in (11, 12)]
        return stock_image(
            folders, control, condition.upsampled, list(prompts), generator=generators, **(call | changes)
        )

    ours = sample(model, condition, noise, "policy").images
    assert ours.shape == (2, 3, 64, 32)
    assert torch.allclose(ours, stock(tmp_path), atol=1e-4)
    assert torch.allclose(sample(model, condition, noise, "reference").images, stock(folders.control), atol=1e-4)
    # what the equality would not survive
    assert not torch.allclose(ours, stock(folders.control), atol=1e-2)
    assert not torch.allclose(ours, stock(tmp_path, controlnet_conditioning_scale=0.4), atol=1e-2)
    assert not torch.allclose(ours, sample(model, condition, noise.flip(0), "policy").images, atol=1e-2)


def test_guidance_and_its_negative_prompt_count(sd2: Folders) -> None:
    noise = torch.randn(1, *sd2.plain.noise_shape(32, 32), generator=torch.manual_seed(0))
    images = []
    for changes in ({}, {"negative_prompt": ""}, {"guidance_scale": 7.0}, {"guidance_scale": 1.0}):
        model = with_settings(sd2.plain, **changes)
        images.append(sample(model, model.condition(lrs(1), ("a cat",)), noise).images)
    for index, image in enumerate(images):
        assert all(not torch.allclose(image, other, atol=1e-4) for other in images[index + 1 :])


def test_every_steps_noise_counts(sd2: Folders) -> None:
    model = sd2.plain
    assert model.noise_shape(32, 32) == (3, 4, 4, 4)
    condition = model.condition(lrs(1), ("",))
    noise = torch.randn(1, 3, 4, 4, 4, generator=torch.manual_seed(0))
    base = sample(model, condition, noise)
    for step in range(3):
        other = noise.clone()
        other[:, step] = -other[:, step]
        assert not torch.allclose(sample(model, condition, other).images, base.images, atol=1e-3), step
    assert base.latents is not None
    assert base.latents.shape == (1, *model.latent_shape(32, 32))


def test_sizes_that_the_vae_does_not_divide_are_padded_and_cropped(sd2: Folders) -> None:
    model = with_settings(sd2.plain, scale=2)
    lr = lrs(1, 9, 13)
    condition = model.condition(lr, ("a",))
    assert condition.upsampled.shape == (1, 3, 18, 26)
    assert model.noise_shape(18, 26) == (3, 4, 3, 4)
    noise = noise_as_stock_draws(model.noise_shape(18, 26), (1,))
    samples = sample(model, condition, noise)
    assert samples.images.shape == (1, 3, 18, 26)
    assert model.encode(samples.images).shape == (1, *model.latent_shape(18, 26)) == (1, 4, 3, 4)

    padded = nn.functional.pad(condition.upsampled, (0, 6, 0, 6), mode="replicate")
    stock = stock_image(
        sd2, sd2.control, padded, ["a"], negative_prompt=["blur, noise"], guidance_scale=3.5,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert torch.allclose(samples.images, stock[..., :18, :26], atol=1e-4)
    assert samples.latents is not None
    error = model.error(samples.latents, condition, torch.tensor([0.5]), torch.randn(1, 4, 3, 4), "policy")
    assert torch.isfinite(error).all()


def test_bits_do_not_depend_on_the_batch(sd2: Folders) -> None:
    model = with_settings(sd2.plain, sample_block=2)
    condition = model.condition(lrs(1), ("a cat",))
    noise = torch.randn(3, *model.noise_shape(32, 32), generator=torch.manual_seed(0))
    whole = sample_rows(model, condition.repeat(3), noise, "policy")
    alone = sample_rows(model, condition, noise[2:], "policy")
    assert torch.equal(whole.images[2:], alone.images)
    assert whole.latents is not None
    assert alone.latents is not None
    assert torch.equal(whole.latents[2:], alone.latents)


def plain_error(
    model: SD2ControlNet, control: nn.Module, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor
) -> Tensor:
    """`error` by whole UNets, as any training script has it."""
    levels = (t * 1000).ceil().long() - 1
    alpha = DDPMScheduler.from_config(model.levels.config).alphas_cumprod[levels].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    epsilon = model.levels.config["prediction_type"] == "epsilon"
    target = noise if epsilon else alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    text = condition.encodings["text"]
    down, middle = control(noisy, levels, text, condition.upsampled, 0.8, return_dict=False)
    predicted = model.unet.unet(
        noisy, levels, text, down_block_additional_residuals=down, mid_block_additional_residual=middle
    ).sample
    return (predicted - target).square().mean(dim=(1, 2, 3))


@pytest.mark.parametrize("kind", ["sd2", "sd1_v"])
def test_both_errors_at_once_are_two_plain_computations(kind: str, request: pytest.FixtureRequest) -> None:
    model: SD2ControlNet = request.getfixturevalue(kind).load(conditioning_scale=0.8)
    change(model.policy)
    arguments = denoising(model)
    policy, reference = model.errors(*arguments)
    assert policy.dtype == reference.dtype == torch.float32
    assert model.reference is not None
    assert torch.allclose(policy, plain_error(model, model.policy, *arguments), rtol=1e-5)
    assert torch.allclose(reference, plain_error(model, model.reference, *arguments), rtol=1e-5)
    assert torch.equal(policy, model.error(*arguments, "policy"))
    assert torch.equal(reference, model.error(*arguments, "reference"))
    assert not torch.allclose(policy, reference, rtol=1e-3)

    (policy * torch.tensor([1.0, -2.0])).sum().backward()
    gradients = {name: weight.grad for name, weight in model.policy.named_parameters()}
    twin = copy.deepcopy(model.policy)
    twin.zero_grad()
    (plain_error(model, twin, *arguments) * torch.tensor([1.0, -2.0])).sum().backward()
    for name, weight in twin.named_parameters():
        assert gradients[name] is not None, name
        assert torch.allclose(gradients[name], weight.grad, rtol=1e-3, atol=1e-6), name
    frozen = [model.unet.unet, model.vae, model.text.encoder, model.reference]
    assert all(weight.grad is None and not weight.requires_grad for part in frozen for weight in part.parameters())
    assert not reference.requires_grad


def test_the_first_half_of_the_unet_runs_once(sd2: Folders) -> None:
    calls: list[str] = []
    hooks = [
        getattr(sd2.plain.unet.unet, name).register_forward_hook(lambda *_, name=name: calls.append(name))
        for name in ("conv_in", "mid_block", "conv_out")
    ]
    sd2.plain.errors(*denoising(sd2.plain))
    for hook in hooks:
        hook.remove()
    assert calls == ["conv_in", "mid_block", "conv_out", "conv_out"]


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_before_the_first_step_policy_and_reference_agree_to_the_bit(sd2: Folders, lora_rank: int) -> None:
    model = sd2.load(lora_rank=lora_rank)
    arguments = denoising(model)
    policy, reference = model.errors(*arguments)
    assert torch.equal(policy, reference)
    assert model.digest("policy") == model.digest("reference")
    policy.sum().backward()
    before = model.digest("reference")
    change(model.policy)
    policy, after = model.errors(*arguments)
    assert not torch.allclose(policy, reference, rtol=1e-3)
    assert torch.equal(after, reference)
    assert model.digest("reference") == before != model.digest("policy")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_they_agree_in_reduced_precision_too(sd2: Folders, dtype: str) -> None:
    """Wrapped as training wraps it: the policy's residuals then come as float32, the reference's as bfloat16."""
    model = sd2.load(dtype=dtype)
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    model.policy = accelerator.prepare(model.policy)
    with accelerator.autocast():
        policy, reference = model.errors(*denoising(model))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert torch.equal(policy, reference)
    assert policy.dtype == torch.float32
    policy.sum().backward()
    assert {weight.grad.dtype for weight in model.policy.parameters() if weight.grad is not None} == {torch.float32}
    assert model.digest("policy") == model.digest("reference")


def test_an_adapter_trains_alone_and_its_reference_is_the_branch_without_it(sd2: Folders) -> None:
    full, model = sd2.plain, sd2.load(lora_rank=2)
    assert model.reference is None
    assert model.digest("reference") == full.digest("reference")
    trainable = {name for name, weight in model.policy.named_parameters() if weight.requires_grad}
    assert trainable
    assert all(".lora_" in name for name in trainable)
    change(model.policy)
    policy, reference = model.errors(*denoising(model))
    assert torch.equal(reference, full.errors(*denoising(full))[1])
    policy.sum().backward()
    for name, weight in model.policy.named_parameters():
        assert (weight.grad is not None) == (name in trainable), name


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_what_was_saved_loads_as_policy_and_as_a_new_base(sd2: Folders, tmp_path: Path, lora_rank: int) -> None:
    model = sd2.load(lora_rank=lora_rank, conditioning_scale=0.8)
    change(model.policy)
    model.save(tmp_path)
    again = sd2.load(lora_rank=lora_rank, conditioning_scale=0.8)
    again.load_policy(tmp_path)
    assert again.digest("policy") == model.digest("policy")
    assert again.digest("reference") == model.digest("reference") == sd2.plain.digest("reference")
    policy, reference = again.errors(*denoising(again))
    assert torch.equal(policy, model.errors(*denoising(model))[0])
    assert not torch.allclose(policy, reference, rtol=1e-3)
    based = SD2ControlNet.load(tmp_path, sd_settings(sd2.base, tmp_path), CPU)
    assert based.digest("reference") == based.digest("policy") == model.digest("policy")
    stock = ControlNetModel.from_pretrained(tmp_path)
    assert torch.allclose(policy, plain_error(model, stock, *denoising(model)), rtol=1e-4)


def test_saved_bytes_do_not_depend_on_where_it_was_loaded_from(sd2: Folders, tmp_path: Path) -> None:
    moved = sd2.copy(tmp_path / "moved")
    for name, model in (("here", sd2.plain), ("there", moved.load())):
        (tmp_path / name).mkdir()
        model.save(tmp_path / name)
    for file in ("config.json", "diffusion_pytorch_model.safetensors"):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()


def test_a_policy_of_another_kind_is_refused(sd2: Folders, sd1_v: Folders, tmp_path: Path) -> None:
    full, adapter, wider = (sd2.load(lora_rank=rank) for rank in (0, 2, 3))
    for name, model in (("full", full), ("adapter", adapter), ("wider", wider)):
        (tmp_path / name).mkdir()
        model.save(tmp_path / name)
    with pytest.raises(BadInput, match=r"not trained with an adapter: set backbone\.lora_rank to 0"):
        adapter.load_policy(tmp_path / "full")
    with pytest.raises(BadInput, match=r"does not fit: .*set backbone\.lora_rank"):
        adapter.load_policy(tmp_path / "wider")
    with pytest.raises(BadInput, match=r"no policy of this backbone: \d+ tensors differ, .*set backbone\.path"):
        sd1_v.plain.load_policy(tmp_path / "full")
    with pytest.raises(BadInput, match="has no diffusion_pytorch_model"):
        full.load_policy(tmp_path)
    full.load_policy(tmp_path / "adapter")  # merged into the branch


def test_a_bare_state_dict_is_the_same_controlnet(sd2: Folders, tmp_path: Path) -> None:
    file = write_bare_control(tmp_path / "model.safetensors", sd2.base)
    expected = sd2.plain.digest("reference")
    for source in (file, tmp_path):
        assert SD2ControlNet.load(source, sd_settings(sd2.base, source), CPU).digest("policy") == expected


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_frozen_backbone_is_in_memory_once(sd2: Folders, lora_rank: int) -> None:
    def stored() -> dict[int, Tensor]:
        gc.collect()
        # By exact type: the compiler's tensors without storage, left by other tests, have no address to ask for. Held
        # in the result, so that an address is not given out again.
        tensors = [thing for thing in gc.get_objects() if type(thing) in (Tensor, nn.Parameter)]
        return {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors if tensor.device.type == "cpu"}

    def size(*parts: nn.Module) -> int:
        return sum(weight.numel() * 4 for part in parts for weight in part.parameters())

    before = stored()
    model = sd2.load(lora_rank=lora_rank)
    added = sum(tensor.untyped_storage().nbytes() for place, tensor in stored().items() if place not in before)
    control = ControlNetModel.from_pretrained(sd2.control)
    adapter = sum(weight.numel() * 4 for name, weight in model.policy.named_parameters() if ".lora_" in name)
    expected = size(model.unet.unet, model.vae, model.text.encoder) + size(control) * (1 if lora_rank else 2) + adapter
    assert expected <= added < expected + 30_000  # position ids, noise levels and their timesteps
    assert size(model.unet.unet) > 200_000


def test_digests_name_what_determines_the_result(sd2: Folders, tmp_path: Path) -> None:
    plain = sd2.plain
    unchanged = with_settings(plain, sample_block=1, gradient_checkpointing=True, max_lr_pixels=9)
    assert unchanged.sampler.digest == plain.sampler.digest
    changes: list[dict[str, Any]] = [
        {"steps": 2},
        {"guidance_scale": 2.0},
        {"negative_prompt": ""},
        {"conditioning_scale": 0.5},
        {"vae_tiling": True},
    ]
    digests = {with_settings(plain, **change).sampler.digest for change in [{}, *changes]}
    assert len(digests) == 1 + len(changes)
    other = sd2.copy(tmp_path)
    weights = load_file(other.base / "vae/diffusion_pytorch_model.safetensors")
    weights["decoder.conv_out.bias"] += 0.1
    save_file(weights, other.base / "vae/diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    assert other.load().digest("reference") != plain.digest("reference")


def test_encoding_is_the_mode_scaled(sd2: Folders) -> None:
    model = sd2.plain
    images = torch.rand(2, 3, 32, 32, generator=torch.manual_seed(1))
    expected = model.vae.encode(images * 2 - 1).latent_dist.mean * 0.18215
    assert torch.allclose(model.encode(images), expected, atol=1e-5)
    assert torch.equal(model.encode(images), model.encode(images))
    assert not model.encode(images).requires_grad


def test_recomputing_activations_changes_no_gradient(sd2: Folders) -> None:
    runs = []
    for recompute in (False, True):
        model = sd2.load(gradient_checkpointing=recompute)
        change(model.policy)
        calls: list[int] = []
        model.policy.down_blocks[0].resnets[0].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        model.unet.unet.up_blocks[0].resnets[0].register_forward_pre_hook(lambda *_, calls=calls: calls.append(2))
        model.error(*denoising(model), "policy").sum().backward()
        runs.append((calls, [weight.grad for weight in model.policy.parameters()]))
    assert sorted(runs[0][0]) == [1, 2]
    assert sorted(runs[1][0]) == [1, 1, 2, 2]  # once more in the backward pass
    for plain, recomputed in zip(runs[0][1], runs[1][1], strict=True):
        assert torch.allclose(plain, recomputed, rtol=1e-4, atol=1e-7)


def test_compiled_networks_give_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dynamo alone: it traces all that a compiler would get, without minutes of compiling."""
    one_level = {
        "block_out_channels": (16,),
        "attention_head_dim": 2,
        "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",),
    }
    folders = Folders(tmp_path, network=SD2 | one_level)
    seen: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        seen.append(len(graph.graph.nodes))
        return graph.forward

    monkeypatch.setattr(sd2_controlnet, "COMPILE_BACKEND", backend)
    torch.compiler.reset()
    compiled = folders.load(compile=True)
    arguments = denoising(compiled, 1)
    with torch.no_grad():
        error = compiled.error(*arguments, "policy")
    assert torch.allclose(error, folders.plain.error(*arguments, "policy"), rtol=1e-5)
    assert len(seen) == 3  # down and middle, policy, up: no graph breaks
    assert set(compiled.policy.state_dict()) == set(folders.plain.policy.state_dict())
    torch.compiler.reset()


def test_channels_last_is_a_layout_not_another_result(sd2: Folders) -> None:
    plain, other = sd2.plain, sd2.load(channels_last=True)
    for part in (other.unet.unet.conv_in, other.policy.conv_in, other.vae.encoder.conv_in):
        assert part.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(other.errors(*denoising(other))[0], plain.errors(*denoising(plain))[0], rtol=1e-4)


def test_reduced_precision_is_for_what_is_frozen(sd2: Folders) -> None:
    plain, half = sd2.plain, sd2.load(dtype="bfloat16")
    assert {weight.dtype for weight in half.policy.parameters()} == {torch.float32}
    frozen = (half.unet.unet, half.vae, half.text.encoder)
    assert {weight.dtype for part in frozen for weight in part.parameters()} == {torch.bfloat16}
    arguments = denoising(half)
    policy, reference = half.errors(*arguments)
    assert policy.dtype == torch.float32
    assert torch.equal(policy, reference)
    assert torch.allclose(policy, plain.errors(*denoising(plain))[0], rtol=0.03)
    with torch.autocast("cpu", torch.bfloat16):
        policy, reference = half.errors(*arguments)
    assert torch.equal(policy, reference)
    policy.sum().backward()
    assert {weight.grad.dtype for weight in half.policy.parameters() if weight.grad is not None} == {torch.float32}
    noise = torch.randn(1, *half.noise_shape(32, 32), generator=torch.manual_seed(0))
    images = [sample(model, model.condition(lrs(1), ("a",)), noise).images for model in (plain, half)]
    assert torch.allclose(*images, atol=0.05)


def test_tiles_bound_the_vaes_memory_on_large_images(sd2: Folders) -> None:
    model = sd2.load(vae_tiling=True, steps=1, guidance_scale=1.0)
    sides: list[int] = []
    model.vae.decoder.register_forward_hook(lambda _, inputs, output: sides.append(max(output.shape[-2:])))
    model.vae.encoder.register_forward_hook(lambda _, inputs, output: sides.append(max(inputs[0].shape[-2:])))
    condition = model.condition(lrs(1, 28, 20), ("",))
    images = sample(model, condition, torch.randn(1, *model.noise_shape(112, 80))).images
    assert images.shape == (1, 3, 112, 80)
    assert model.encode(images).shape == (1, *model.latent_shape(112, 80))
    assert len(sides) > 2
    assert max(sides) <= 64  # the VAE's own sample size


def test_an_lr_above_the_limit_is_refused(sd2: Folders) -> None:
    model = with_settings(sd2.plain, max_lr_pixels=63)
    with pytest.raises(BadInput, match=r"8 x 8 px has more than backbone\.max_lr_pixels 63: .*raise the limit"):
        model.condition(lrs(1), ("",))


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No weight is read and nothing is moved to a device: the refusal comes before."""

    def read(*arguments: Any, **options: Any) -> None:
        raise AssertionError("weights were read before the settings were checked")

    monkeypatch.setattr(pretrained, "read_model", read)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"},
         r"backbone\.base: .*prediction_type 'sample', supported are epsilon and v_prediction; choose a base"),
        ("scheduler/scheduler_config.json", {"variance_type": "learned"}, r"variance_type other than fixed_small"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 2}, r"backbone\.steps 3 exceeds the 2 noise"),
        ("unet/config.json", {"in_channels": 9}, r"backbone\.base: its UNet takes 9 channels .*inpainting"),
        ("unet/config.json", {"num_class_embeds": 10}, r"backbone\.base: its UNet sets num_class_embeds"),
        ("text_encoder/config.json", {"hidden_size": 32}, r"width 24, its text encoder gives 32"),
        ("unet/config.json", {"up_block_types": ["Nothing"]}, r"backbone\.base: .*unet does not describe a UNet2D"),
    ],
)  # fmt: skip
def test_a_base_that_cannot_work_is_refused(
    sd2: Folders, tmp_path: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    folders = sd2.copy(tmp_path)
    edit(folders.base / file, **changes)
    with pytest.raises(BadInput, match=message):
        folders.load()


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler", "model_index.json"])
def test_a_missing_part_is_named(sd2: Folders, tmp_path: Path, part: str) -> None:
    folders = sd2.copy(tmp_path)
    path = folders.base / part
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(BadInput, match=rf"backbone\.base: .*lacks {part}: .*hub id owner/name"):
        folders.load()


def test_a_tokenizer_without_words_is_refused(sd2: Folders, tmp_path: Path) -> None:
    folders = sd2.copy(tmp_path)
    for file in (folders.base / "tokenizer").iterdir():
        file.unlink()
    with pytest.raises(BadInput, match=r"backbone\.base: .*tokenizer (has no vocabulary|cannot be read)"):
        folders.load()


@pytest.mark.usefixtures("unread")
def test_a_controlnet_that_does_not_fit_its_base_is_refused(sd2: Folders, sd1_v: Folders, tmp_path: Path) -> None:
    settings = sd_settings(sd2.base, sd1_v.control)
    with pytest.raises(BadInput, match=r"backbone\.path: .*cross_attention_dim 16 for 24.*change backbone\.path or"):
        SD2ControlNet.load(sd1_v.control, settings, CPU)
    file = write_bare_control(tmp_path / "control.safetensors", sd1_v.base)
    with pytest.raises(BadInput, match=r"backbone\.path: .*control\.safetensors is no ControlNet state dict.*tensors"):
        SD2ControlNet.load(file, settings, CPU)
    with pytest.raises(BadInput, match="holds a UNet2DConditionModel, not a ControlNetModel"):
        SD2ControlNet.load(sd2.base / "unet", settings, CPU)
    other = sd2.copy(tmp_path)
    edit(other.control / "config.json", conditioning_channels=4)
    with pytest.raises(BadInput, match="something else than RGB pixels"):
        other.load()
    edit(other.control / "config.json", conditioning_channels=3, conditioning_embedding_out_channels=[16, 32, 96])
    with pytest.raises(BadInput, match=r"reduces its image 4 times, the VAE of backbone\.base 8 times"):
        other.load()


@pytest.mark.usefixtures("unread")
def test_what_is_not_there_is_named_with_its_setting(sd2: Folders, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(BadInput, match=r"backbone\.base: .*nowhere is no folder"):
        SD2ControlNet.load(sd2.control, sd_settings(nowhere, sd2.control), CPU)
    with pytest.raises(BadInput, match=r"backbone\.path: .*nowhere is neither a folder here nor a model"):
        SD2ControlNet.load(nowhere, sd_settings(sd2.base, nowhere), CPU)
    with pytest.raises(BadInput, match=r"backbone\.base: owner/name is neither a folder here nor a model"):
        SD2ControlNet.load(sd2.control, sd_settings(Path("owner/name"), sd2.control), CPU)
    with pytest.raises(BadInput, match=r"backbone\.dtype float16 needs a GPU"):
        sd2.load(dtype="float16")


def test_damaged_or_incomplete_weights_are_refused(sd2: Folders, tmp_path: Path) -> None:
    folders = sd2.copy(tmp_path)
    path = folders.base / "unet/diffusion_pytorch_model.safetensors"
    content = path.read_bytes()
    weights = load_file(path)
    del weights["conv_in.bias"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"backbone\.base: .*unet lacks 1 tensors .*conv_in\.bias"):
        folders.load()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match=r"backbone\.base: .*unet cannot be read .*restore it"):
        folders.load()
    path.write_bytes(content)
    file = tmp_path / "cut.safetensors"
    file.write_bytes(content[:1000])
    with pytest.raises(BadInput, match=r"backbone\.path: .*cut\.safetensors is damaged"):
        SD2ControlNet.load(file, sd_settings(folders.base, file), CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_on_a_gpu(sd2: Folders, dtype: str) -> None:
    plain = sd2.plain
    settings = sd_settings(sd2.base, sd2.control, dtype=dtype, channels_last=True, compile=True)
    model = SD2ControlNet.load(sd2.control, settings, torch.device("cuda"))
    noise = torch.randn(1, *plain.noise_shape(32, 32), generator=torch.manual_seed(0))
    on_gpu = sample(model, model.condition(lrs(1), ("a",)), noise).images.cpu()
    assert torch.allclose(on_gpu, sample(plain, plain.condition(lrs(1), ("a",)), noise).images, atol=0.05)
    latents, condition, t, epsilon = denoising(model)
    with torch.autocast("cuda", getattr(torch, dtype)):
        policy, reference = model.errors(latents.cuda(), condition, t.cuda(), epsilon.cuda())
    assert torch.equal(policy, reference)
    policy.sum().backward()
    assert all(weight.grad is not None for weight in model.policy.parameters())
