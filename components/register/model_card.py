"""The text people read before they use a model version: markdown from figures. Pure."""

from collections.abc import Mapping
from typing import Any

from components.artifacts.evaluation import Comparison, Difference, Evaluation


def model_card(name: str, sampling: Mapping[str, Any], evaluation: Evaluation, lineage: Mapping[str, str]) -> str:
    """Markdown: what the model is, how to use it, base against aligned with confidence intervals, and its lineage.

    Args:
        name: of the registered model.
        sampling: family, scale, steps and colour fix.
        evaluation: of this model.
        lineage: tag names and values.
    """
    confidence = f"{evaluation.confidence:.0%}"
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
            f"{evaluation.seeds} seeds an image, the same noise for both; {confidence} bootstrap intervals, clustered "
            "by photo.",
            *(line for kind, compared in evaluation.kinds.items() for line in _table(kind, compared)),
            "",
            evaluation.headline,
            "",
            "## Lineage",
            "",
            "| | |",
            "|---|---|",
            *(f"| {tag.removeprefix('dp2o.')} | `{value}` |" for tag, value in lineage.items()),
            "",
        ]
    )


def _table(kind: str, compared: Comparison) -> list[str]:
    """Lines of one kind of images: how many, and a row a measure."""
    return [
        "",
        f"{compared.images} test {kind}, of {compared.photos} photos:",
        "",
        f"| | base | aligned | difference | {compared.confidence:.0%} CI | better | rewarded | verdict |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(name, row) for name, row in compared.measures.items()),
    ]


def _row(measure: str, row: Difference) -> str:
    cells = [
        measure,
        f"{row.base:.4f}",
        f"{row.aligned:.4f}",
        f"{row.difference:+.4f}",
        f"{row.ci_low:+.4f} … {row.ci_high:+.4f}",
        "higher" if row.higher_is_better else "lower",
        "yes" if row.in_reward else "no",
        row.verdict,
    ]
    return f"| {' | '.join(cells)} |"
