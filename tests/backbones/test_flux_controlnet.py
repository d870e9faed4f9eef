"""FLUX with a ControlNet: against the stock pipeline, by its formula, and what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxControlNetModel, FluxControlNetPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch._dynamo.utils import counters
from torch._inductor import config as inductor_config

from components.backbones import flow_controlnet
from components.backbones.base import Condition
from components.backbones.controlnet import vae
from components.backbones.controlnet.lora import ADAPTER
from components.backbones.flux_controlnet import FluxControlNet, pack, position_ids, unpack
from components.backbones.restore import sample, sample_rows
from components.errors import BadInput
from tests.backbones.tiny_flux import flux_settings, write_base, write_control

CPU = torch.device("cpu")
PROMPTS = ("a cat", "dog")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("flux") / "base")


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_control(tmp_path_factory.mktemp("flux") / "control")


@pytest.fixture
def load(base: Path, control: Path) -> Callable[..., FluxControlNet]:
    def loaded(folder: Path = control, **changes: Any) -> FluxControlNet:
        return FluxControlNet.load(folder, flux_settings(base, control, **changes), CPU)

    return loaded


def lr_images(count: int = 2, height: int = 8, width: int = 12) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.manual_seed(3))


def noise_of(model: FluxControlNet, condition: Condition, seed: int = 4) -> Tensor:
    shape = model.noise_shape(*condition.upsampled.shape[-2:])
    return torch.randn(len(condition.prompts), *shape, generator=torch.manual_seed(seed))


def shake(model: FluxControlNet, seed: int = 5) -> None:
    """Move every weight that trains, as training would."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


def training_batch(model: FluxControlNet) -> tuple[Tensor, Condition, Tensor, Tensor]:
    condition = model.condition(lr_images(), PROMPTS)
    latents = model.encode(torch.rand(condition.upsampled.shape, generator=torch.manual_seed(6)))
    return latents, condition, torch.tensor([0.3, 0.9]), noise_of(model, condition)


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("size", [(8, 12), (5, 7)])
def test_a_saved_policy_restores_alike_in_the_stock_pipeline(
    load: Callable[..., FluxControlNet], base: Path, tmp_path: Path, lora_rank: int, size: tuple[int, int]
) -> None:
    model = load(lora_rank=lora_rank, conditioning_scale=0.7, steps=3)
    shake(model)
    condition = model.condition(lr_images(2, *size), PROMPTS)
    noise = noise_of(model, condition)
    ours = sample(model, condition, noise)
    before = sample(model, condition, noise, "reference").images
    assert (ours.images - before).abs().max() > 0.01

    model.save(tmp_path)
    stock = FluxControlNetPipeline.from_pretrained(base, controlnet=FluxControlNetModel.from_pretrained(tmp_path))
    stock.set_progress_bar_config(disable=True)
    padded = vae.pad_to_multiple(condition.upsampled, model.multiple)
    height, width = condition.upsampled.shape[-2:]
    theirs = stock(
        list(PROMPTS), control_image=padded * 2.0 - 1.0, latents=pack(noise), num_inference_steps=3,
        guidance_scale=2.5, controlnet_conditioning_scale=0.7, max_sequence_length=8,
        height=padded.shape[-2], width=padded.shape[-1], output_type="pt",
    ).images  # fmt: skip
    assert ours.images.shape == condition.upsampled.shape
    assert torch.allclose(ours.images, theirs[..., :height, :width], atol=1e-4)


def test_packing_is_the_stock_pipelines() -> None:
    latents = torch.randn(2, 4, 6, 10)
    stock = FluxControlNetPipeline
    assert torch.equal(pack(latents), stock._pack_latents(latents, 2, 4, 6, 10))
    assert torch.equal(unpack(pack(latents), 6, 10), latents)
    assert torch.equal(position_ids(6, 10, CPU), stock._prepare_latent_image_ids(2, 3, 5, CPU, torch.float32))


def test_error_is_the_mean_squared_error_of_the_velocity(load: Callable[..., FluxControlNet], control: Path) -> None:
    """x_t = (1 - sigma) x0 + sigma eps, target eps - x0, from the real classes' own forward passes."""
    model = load()
    latents, condition, t, noise = training_batch(model)
    stock = FluxControlNetModel.from_pretrained(control)
    sigma = t.view(2, 1, 1)
    x0, epsilon = pack(latents), pack(noise)
    inputs = {
        "hidden_states": (1 - sigma) * x0 + sigma * epsilon,
        "timestep": t,
        "guidance": torch.full((2,), 2.5),
        "pooled_projections": condition.encodings["pooled"],
        "encoder_hidden_states": condition.encodings["prompt"],
        "img_ids": position_ids(*latents.shape[-2:], CPU),
        "txt_ids": torch.zeros(8, 3),
        "return_dict": False,
    }
    with torch.no_grad():
        double, _ = stock(controlnet_cond=pack(condition.encodings["control"]), **inputs)
        velocity = model.transformer(controlnet_block_samples=double, **inputs)[0]
    expected = (velocity - (epsilon - x0)).square().mean(dim=(1, 2))
    assert torch.allclose(model.error(latents, condition, t, noise, "policy"), expected, rtol=1e-5)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_both_errors_at_once_are_the_two_errors(load: Callable[..., FluxControlNet], lora_rank: int) -> None:
    model = load(lora_rank=lora_rank)
    batch = training_batch(model)
    policy, reference = model.errors(*batch)
    assert torch.equal(policy, reference)  # before training, so that the first loss is ln 2
    shake(model)
    policy, again = model.errors(*batch)
    assert torch.equal(again, reference)
    assert (policy - reference).abs().min() > 1e-4
    assert torch.equal(policy, model.error(*batch, "policy"))
    assert torch.equal(again, model.error(*batch, "reference"))
    assert policy.dtype == torch.float32
    assert policy.shape == (2,)


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 2}, {"gradient_checkpointing": True}])
@pytest.mark.parametrize(("double", "single"), [(2, 0), (3, 0), (3, 1)])
def test_gradients_reach_the_control_branch_and_nothing_else(
    load: Callable[..., FluxControlNet], tmp_path: Path, changes: dict[str, Any], double: int, single: int
) -> None:
    """Of three control blocks for four in the transformer the third leads nowhere, unless single blocks read it."""
    model = load(write_control(tmp_path, num_layers=double, num_single_layers=single), **changes)
    shake(model)  # an adapter's first factor has no gradient while the second is zero
    trainable = [parameter.requires_grad for parameter in model.policy.parameters()]
    policy, reference = model.errors(*training_batch(model))
    assert not reference.requires_grad
    assert trainable == [parameter.requires_grad for parameter in model.policy.parameters()]
    policy.sum().backward()
    for name, parameter in model.policy.named_parameters():
        trains = parameter.grad is not None
        unused = any(part in name for part in ("blocks.1.ff_context", "blocks.1.attn.to_add_out", "blocks.2."))
        if double == 2 or not single:
            assert trains == (not unused and ("lora_" in name or not changes.get("lora_rank"))), name
    frozen = [model.transformer, model.vae, model.text.text_encoder, model.text.text_encoder_2]
    if model.reference is not None:
        frozen.append(model.reference)
    assert not [name for name, p in model.policy.named_parameters() if p.requires_grad and p.grad is None]
    assert all(parameter.grad is None for network in frozen for parameter in network.parameters())


def test_checkpointing_changes_no_gradient(load: Callable[..., FluxControlNet]) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = load(gradient_checkpointing=checkpointing)
        policy, _ = model.errors(*training_batch(model))
        policy.sum().backward()
        gradients.append([p.grad for p in model.policy.parameters() if p.grad is not None])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*gradients, strict=True))


def test_compiled_blocks_predict_the_same(load: Callable[..., FluxControlNet], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_controlnet, "COMPILE_BACKEND", "eager")  # traced like any other, without a compiler
    expected = load().errors(*training_batch(load()))
    model = load(compile=True, gradient_checkpointing=True)
    policy, reference = model.errors(*training_batch(model))
    assert torch.allclose(policy, expected[0], rtol=1e-5)
    assert torch.allclose(reference, expected[1], rtol=1e-5)
    policy.sum().backward()
    assert model.policy.x_embedder.weight.grad is not None
    assert list(model.policy.state_dict()) == list(load().policy.state_dict())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler: install g++ to run this")
def test_what_inductor_compiles_predicts_the_same_and_has_the_same_gradients(tmp_path: Path) -> None:
    """torch's own compiler on the CPU, with recomputed activations: one double block each, a minute of compiling."""
    base = write_base(tmp_path / "base", num_layers=1, num_single_layers=0)
    control = write_control(tmp_path / "control", num_layers=1)
    plain, compiled = (
        FluxControlNet.load(control, flux_settings(base, control, compile=on, gradient_checkpointing=on), CPU)
        for on in (False, True)
    )
    found = []
    with inductor_config.patch({"cpp.simdlen": 1}):  # plain loops: compiled in half of the time
        for model in (plain, compiled):
            shake(model)
            policy, reference = model.errors(*training_batch(model))
            (policy * torch.tensor([1.0, -2.0])).sum().backward()
            gradients = {name: weight.grad for name, weight in model.policy.named_parameters()}
            found.append((policy.detach(), reference, gradients))
    assert counters["inductor"], "nothing was compiled"
    torch.compiler.reset()
    (policy, reference, gradients), (other_policy, other_reference, other_gradients) = found
    assert torch.allclose(policy, other_policy, rtol=1e-5)
    assert torch.allclose(reference, other_reference, rtol=1e-5)
    assert not torch.allclose(policy, reference, rtol=1e-3)
    for name, gradient in gradients.items():
        other = other_gradients[name]
        assert (gradient is None) == (other is None), name
        assert gradient is None or other is None or torch.allclose(gradient, other, rtol=1e-3, atol=1e-6), name


def test_a_prompt_is_encoded_once(load: Callable[..., FluxControlNet]) -> None:
    model, calls = load(), []
    encode = model.encode_prompt
    model.encode_prompt = lambda prompt: calls.append(prompt) or encode(prompt)  # type: ignore[method-assign,func-returns-value]
    both = model.condition(lr_images(), PROMPTS)
    again = model.condition(lr_images(1), PROMPTS[1:])
    assert calls == list(PROMPTS)
    assert torch.equal(again.encodings["prompt"], both.encodings["prompt"][1:])
    for number in range(flow_controlnet.KEPT):
        model.encoded(f"{number}")
    model.encoded(PROMPTS[0])  # forgotten by now
    assert calls.count(PROMPTS[0]) == 2


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_every_gradient_that_several_processes_wait_for_comes(
    load: Callable[..., FluxControlNet], tmp_path: Path, lora_rank: int
) -> None:
    """DistributedDataParallel refuses the second step if a parameter that trains had no gradient in the first."""
    model = load(write_control(tmp_path / "control", num_layers=3), lora_rank=lora_rank, gradient_checkpointing=True)
    batch = training_batch(model)
    alone = model.error(*batch, "policy")
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        model.policy = torch.nn.parallel.DistributedDataParallel(model.policy)
        for _ in range(2):
            policy, _ = model.errors(*batch)
            policy.sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert torch.equal(policy, alone)


def test_rows_do_not_depend_on_the_batch(load: Callable[..., FluxControlNet]) -> None:
    model = load()
    condition = model.condition(lr_images(2), PROMPTS).repeat(3)
    noise = noise_of(model, condition)
    whole = sample_rows(model, condition, noise, "policy")
    for row in (0, 4):
        alone = sample_rows(model, condition.take([row]), noise[row : row + 1], "policy")
        assert torch.equal(alone.images[0], whole.images[row])
        assert torch.equal(alone.latents[0], whole.latents[row])
    assert not torch.equal(whole.images[0], whole.images[1])
    alone = model.condition(lr_images(2)[1:], PROMPTS[1:])
    for name, rows in alone.encodings.items():
        assert torch.equal(rows[0], condition.encodings[name][3]), name


def test_latents_of_samples_are_what_error_takes(load: Callable[..., FluxControlNet]) -> None:
    model = load()
    condition = model.condition(lr_images(2, 5, 7), PROMPTS)
    samples = sample(model, condition, noise_of(model, condition))
    assert samples.latents is not None
    assert samples.latents.shape == (2, *model.latent_shape(20, 28)) == (2, 4, 4, 4)
    assert model.encode(samples.images).shape == samples.latents.shape
    assert torch.equal(model.encode(samples.images), model.encode(samples.images))
    error = model.error(samples.latents, condition, torch.tensor([0.5, 1.0]), noise_of(model, condition, 7), "policy")
    assert error.isfinite().all()


def test_the_frozen_parts_are_in_memory_once(load: Callable[..., FluxControlNet]) -> None:
    model = load()
    of_control = sum(p.numel() for p in model.policy.parameters())
    assert model.reference is not None
    assert of_control == sum(p.numel() for p in model.reference.parameters())
    shared = {p.data_ptr() for p in model.transformer.parameters()}
    assert not shared & {p.data_ptr() for p in model.policy.parameters()}
    adapted = load(lora_rank=1)
    assert adapted.reference is None
    trained = sum(p.numel() for p in adapted.policy.parameters() if p.requires_grad)
    assert 0 < trained < of_control / 5


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_policy_is_saved_and_loaded(load: Callable[..., FluxControlNet], tmp_path: Path, lora_rank: int) -> None:
    model = load(lora_rank=lora_rank)
    start = model.digest("reference")
    assert model.digest("policy") == start
    shake(model)
    trained = model.digest("policy")
    assert trained != start
    assert model.digest("reference") == start
    model.save(tmp_path)
    assert (tmp_path / ADAPTER).exists() == bool(lora_rank)
    other = load(lora_rank=lora_rank)
    other.load_policy(tmp_path)
    assert other.digest("policy") == trained
    assert other.digest("reference") == start
    assert load(tmp_path).digest("reference") == trained  # as the base of another round


def test_digests_know_all_that_matters(load: Callable[..., FluxControlNet], tmp_path: Path, control: Path) -> None:
    other = FluxControlNet.load(control, flux_settings(write_base(tmp_path / "base", seed=9), control), CPU)
    assert other.digest("reference") != load().digest("reference")
    plain = other.settings

    def sampler(**changes: Any) -> str:
        other.settings = plain.model_copy(update=changes)
        return other.sampler.digest

    changed = [{"steps": 3}, {"guidance": 3.0}, {"conditioning_scale": 0.5}, {"max_sequence_length": 9}]
    changed += [{"vae_tiling": True}, {"dtype": "bfloat16"}, {"scale": 2}]
    assert len({sampler(), *(sampler(**change) for change in changed)}) == 1 + len(changed)
    assert sampler(gradient_checkpointing=True, max_lr_pixels=99, lora_rank=1) == sampler()


def test_frozen_parts_in_bfloat16_leave_the_policy_in_float32(load: Callable[..., FluxControlNet]) -> None:
    exact, rounded = load(), load(dtype="bfloat16")
    assert {p.dtype for p in rounded.policy.parameters()} == {torch.float32}
    assert {p.dtype for p in rounded.transformer.parameters()} == {torch.bfloat16}
    batch = training_batch(rounded)
    expected = exact.error(*training_batch(exact), "policy")
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            policy, reference = rounded.errors(*batch)
        assert policy.dtype == torch.float32
        assert torch.equal(policy, reference)
        assert torch.allclose(policy, expected, rtol=0.05)
    policy.sum().backward()
    assert {p.grad.dtype for p in rounded.policy.parameters() if p.grad is not None} == {torch.float32}
    images = sample(rounded, batch[1], batch[3]).images
    assert images.dtype == torch.float32
    assert (images - sample(exact, training_batch(exact)[1], batch[3]).images).abs().mean() < 0.02


def test_vae_tiles_show_no_seam(load: Callable[..., FluxControlNet]) -> None:
    """The tile is 64 px here and 96 px are decoded in four: the step over the seam at px 48 is like any other."""
    whole, tiled = load(), load(vae_tiling=True, channels_last=True)
    condition = whole.condition(lr_images(1, 24, 24), ("",))
    noise = noise_of(whole, condition)
    one, other = sample(whole, condition, noise).images, sample(tiled, condition, noise).images
    assert not torch.equal(one, other)
    steps = other.diff(dim=-1).abs().mean(dim=(0, 1, 2))
    assert steps[47] < steps.mean() + 2 * steps.std()


def test_a_bare_state_dict_is_as_good_as_its_folder(
    load: Callable[..., FluxControlNet], control: Path, tmp_path: Path
) -> None:
    shutil.copy(control / "diffusion_pytorch_model.safetensors", tmp_path / "model.safetensors")
    expected = load().digest("reference")
    assert load(tmp_path / "model.safetensors").digest("reference") == expected
    assert load(tmp_path).digest("reference") == expected


def test_a_control_branch_may_start_from_the_transformer(
    load: Callable[..., FluxControlNet], base: Path, tmp_path: Path
) -> None:
    model = load(base)
    assert model.policy.config.num_layers == 4
    assert model.policy.config.num_single_layers == 0
    latents, condition, t, noise = training_batch(model)
    without = Condition(
        condition.upsampled, condition.prompts, condition.encodings | {"control": torch.zeros_like(latents)}
    )
    assert torch.equal(
        model.error(latents, condition, t, noise, "policy"), model.error(latents, without, t, noise, "policy")
    )
    model.save(tmp_path)
    assert FluxControlNetModel.from_pretrained(tmp_path).config.num_single_layers == 0
    assert load(tmp_path).digest("policy") == load(base).digest("policy")


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def no_base(base: Path, control: Path) -> str:
    shutil.rmtree(base)
    return "backbone.base.*no folder"


def no_vae(base: Path, control: Path) -> str:
    shutil.rmtree(base / "vae")
    return "backbone.base.*lacks vae"


def other_family(base: Path, control: Path) -> str:
    change_json(base / "model_index.json", _class_name="StableDiffusionPipeline", transformer=[None, None])
    return "StableDiffusionPipeline.*backbone.family"


def fill_variant(base: Path, control: Path) -> str:
    change_json(base / "transformer/config.json", in_channels=96)
    return "takes 96 channels.*FLUX.1-dev"


def no_guidance(base: Path, control: Path) -> str:
    change_json(base / "transformer/config.json", guidance_embeds=False)
    return "backbone.guidance is 2.5.*set it to 0"


def stochastic(base: Path, control: Path) -> str:
    change_json(base / "scheduler/scheduler_config.json", stochastic_sampling=True)
    return "scheduler.*stochastic_sampling"


def other_scheduler(base: Path, control: Path) -> str:
    index = json.loads((base / "model_index.json").read_text())
    change_json(base / "model_index.json", **index | {"scheduler": ["diffusers", "DDPMScheduler"]})
    return "DDPMScheduler.*predicts velocities"


def no_control(base: Path, control: Path) -> str:
    shutil.rmtree(control)
    return "backbone.path.*neither a folder"


def other_control(base: Path, control: Path) -> str:
    change_json(control / "config.json", _class_name="ControlNetModel")
    return "ControlNetModel, not a FluxControlNetModel"


def other_width(base: Path, control: Path) -> str:
    change_json(control / "config.json", num_attention_heads=3)
    return "num_attention_heads 3 for 2.*backbone.base"


def union(base: Path, control: Path) -> str:
    change_json(control / "config.json", num_mode=6)
    return "control mode"


def cut_weights(base: Path, control: Path) -> str:
    path = control / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    return "backbone.path.*cannot be read"


def missing_tensor(base: Path, control: Path) -> str:
    path = control / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    del state["x_embedder.weight"]
    save_file(state, path)
    return "lacks 1 tensors.*x_embedder"


def bare_of_another(base: Path, control: Path) -> str:
    (control / "config.json").unlink()
    path = control / "diffusion_pytorch_model.safetensors"
    save_file(load_file(path) | {"x_embedder.weight": torch.zeros(3, 3)}, path)
    return "no ControlNet for the transformer.*x_embedder"


def bare_of_nothing(base: Path, control: Path) -> str:
    (control / "config.json").unlink()
    save_file({"a": torch.zeros(1)}, control / "diffusion_pytorch_model.safetensors")
    return "no ControlNet for the transformer"


@pytest.mark.parametrize(
    "damage",
    [
        no_base, no_vae, other_family, fill_variant, no_guidance, stochastic, other_scheduler, no_control,
        other_control, other_width, union, cut_weights, missing_tensor, bare_of_another, bare_of_nothing,
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    base: Path, control: Path, tmp_path: Path, damage: Callable[[Path, Path], str]
) -> None:
    copies = [Path(shutil.copytree(source, tmp_path / source.name)) for source in (base, control)]
    message = damage(*copies)
    if damage not in (cut_weights, missing_tensor):  # all else is known before any weight is read
        for weights in copies[0].rglob("*.safetensors"):
            weights.unlink()
    with pytest.raises(BadInput, match=message):
        FluxControlNet.load(copies[1], flux_settings(*copies), CPU)


def test_a_base_with_too_few_blocks_gives_no_control_branch(tmp_path: Path) -> None:
    base = write_base(tmp_path, num_layers=2)
    with pytest.raises(BadInput, match="only 2 double blocks"):
        FluxControlNet.load(base, flux_settings(base, base), CPU)


def test_a_large_lr_is_refused_before_any_work(
    load: Callable[..., FluxControlNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(max_lr_pixels=95)
    monkeypatch.setattr(model.text, "encode_prompt", pytest.fail)
    with pytest.raises(BadInput, match=r"12 x 8 px.*backbone.max_lr_pixels 95"):
        model.condition(lr_images(), PROMPTS)


def test_float16_is_refused_on_a_cpu(load: Callable[..., FluxControlNet]) -> None:
    with pytest.raises(BadInput, match="float16 needs a GPU"):
        load(dtype="float16")


def test_another_policy_is_refused(load: Callable[..., FluxControlNet], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no policy of this backbone.*missing"):
        load().load_policy(write_control(tmp_path, num_layers=1))
    with pytest.raises(BadInput, match=rf"{ADAPTER}.*backbone.lora_rank"):
        load(lora_rank=1).load_policy(tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_text_encoders_may_stay_on_the_host_of_a_gpu(base: Path, control: Path) -> None:
    device = torch.device("cuda")
    here, there = (
        FluxControlNet.load(control, flux_settings(base, control, text_on_cpu=on), device) for on in (False, True)
    )
    assert {weight.device.type for encoder in there.encoders for weight in encoder.parameters()} == {"cpu"}
    conditions = [model.condition(lr_images(), PROMPTS) for model in (here, there)]
    for name in ("prompt", "pooled"):
        one, other = (condition.encodings[name] for condition in conditions)
        assert other.device.type == "cuda"
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_trains_and_samples_compiled_in_bfloat16(base: Path, control: Path) -> None:
    settings = flux_settings(
        base, control, dtype="bfloat16", compile=True, gradient_checkpointing=True, channels_last=True
    )
    model = FluxControlNet.load(control, settings, torch.device("cuda"))
    latents, condition, t, noise = training_batch(model)
    with torch.autocast("cuda", torch.bfloat16):
        policy, reference = model.errors(latents, condition, t.cuda(), noise.cuda())
    assert torch.allclose(policy, reference)
    policy.sum().backward()
    exact = FluxControlNet.load(control, flux_settings(base, control), CPU)
    images = sample(model, condition, noise).images.cpu()
    assert (images - sample(exact, training_batch(exact)[1], noise).images).abs().mean() < 0.05
