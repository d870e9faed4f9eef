"""The text people read before they use a model version: markdown from figures. Pure."""

from collections.abc import Mapping
from typing import Any


def model_card(
    name: str, sampling: Mapping[str, Any], evaluation: Mapping[str, Any], lineage: Mapping[str, str]
) -> str:
    """Markdown: what the model is, how to use it, base against aligned with confidence intervals, and its lineage.

    Args:
        name: of the registered model.
        sampling: family, scale, steps and colour fix.
        evaluation: content of reports/evaluation.json.
        lineage: tag names and values.
    """
    rows = {"reward": evaluation["reward"], **evaluation["metrics"]}
    confidence = f"{evaluation['confidence']:.0%}"
    return "\n".join(
        [
            f"# {name}",
            "",
            f"Super-resolution ×{sampling['scale']} ({sampling['family']}, {sampling['steps']} steps, colour fix "
            f"{sampling['colour_fix']}), aligned by direct perceptual preference optimisation.",
            "",
            "## Use",
            "",
            "```python",
            "import base64, mlflow, pandas",
            f'model = mlflow.pyfunc.load_model("models:/{name}@candidate")  # in an environment with dp2o-sr installed',
            'photo = base64.b64encode(open("photo.jpg", "rb").read()).decode()',
            'png = base64.b64decode(model.predict(pandas.DataFrame({"image": [photo], "seed": [0]}))["image"][0])',
            "```",
            "",
            "Or over HTTP; a row that cannot be used is answered with 400 and what is wrong with it:",
            "",
            "```",
            f"mlflow models serve -m models:/{name}@candidate --env-manager local -p 5001",
            """printf '{"dataframe_records": [{"image": "%s", "seed": 0}]}' "$(base64 -w0 photo.jpg)" | \\""",
            "  curl -s http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d @- | \\",
            "  jq -r '.predictions[0].image' | base64 -d > restored.png",
            "```",
            "",
            "The same picture and seed give the same result; another seed gives another plausible restoration.",
            "Detail is generated: it is not evidence of what the photographed thing looked like.",
            "",
            "## Base against aligned",
            "",
            f"{evaluation['images']} test images of {evaluation['photos']} photos, {evaluation['seeds']} seeds each, "
            f"the same noise for both; {confidence} bootstrap intervals, clustered by photo.",
            "",
            f"| | base | aligned | difference | {confidence} CI | better | rewarded | verdict |",
            "|---|---|---|---|---|---|---|---|",
            *(_row(metric, figures) for metric, figures in rows.items()),
            "",
            evaluation["headline"],
            "",
            "## Lineage",
            "",
            "| | |",
            "|---|---|",
            *(f"| {tag.removeprefix('dp2o.')} | `{value}` |" for tag, value in lineage.items()),
            "",
        ]
    )


def _row(metric: str, figures: Mapping[str, Any]) -> str:
    cells = [
        metric,
        f"{figures['base']:.4f}",
        f"{figures['aligned']:.4f}",
        f"{figures['difference']:+.4f}",
        f"{figures['ci_low']:+.4f} … {figures['ci_high']:+.4f}",
        "higher" if figures["higher_is_better"] else "lower",
        "yes" if figures["in_reward"] else "no",
        figures["verdict"],
    ]
    return f"| {' | '.join(cells)} |"
