from components.register.model_card import model_card
from tests.evaluations import LR_ONLY
from tests.register.project import evaluated


def test_card_has_figures_use_and_lineage() -> None:
    sampling = {"family": "tiny_flow", "scale": 2, "steps": 6, "colour_fix": "none"}
    card = model_card("my-model", sampling, evaluated("w"), {"dp2o.git_commit": "abc123"})
    assert "models:/my-model@candidate" in card
    assert "mlflow models serve -m models:/my-model@candidate" in card
    assert "Super-resolution ×2 (tiny_flow, 6 steps, colour fix none)" in card
    assert "2 test images with HR, of 2 photos:" in card
    assert "| psnr | 24.0000 | 24.5000 | +0.5000 | +0.4900 … +0.5100 | higher | no | better |" in card
    assert "| reward | 0.5000 | 0.6250 | +0.1250 |" in card
    assert "| git_commit | `abc123` |" in card


def test_kinds_of_images_have_tables_of_their_own() -> None:
    sampling = {"family": "tiny_flow", "scale": 2, "steps": 6, "colour_fix": "none"}
    card = model_card("my-model", sampling, evaluated("w", without_hr=LR_ONLY), {})
    with_hr, without_hr = card.split("3 test images without HR, of 2 photos:")
    assert "| psnr | 24.0000 |" in with_hr
    assert "lr_consistency" not in with_hr
    assert "| lr_consistency | 30.0000 | 29.5000 |" in without_hr
