"""The contract as a page: `python -m components.artifacts.describe > docs/contract.md`."""

import pyarrow as pa

from components.artifacts import tables

FILES: dict[str, tuple[str, pa.Schema]] = {
    "data/dataset.parquet": ("one row an LR image", tables.DATASET),
    "data/quarantine.parquet": ("one row a file or crop that prepare set aside", tables.QUARANTINE),
    "data/incoming.parquet": ("one row a picture that intake took in", tables.INCOMING),
    "data/prompts.parquet": ("one row an LR image: its prompt, and who wrote it", tables.PROMPTS),
    "data/candidates.parquet": ("one row a candidate", tables.CANDIDATES),
    "data/scores.parquet": (
        "one row a scored candidate; one column a metric, named as in params.yaml, and one a judge, `judge_<kind>_fr` "
        "or `_nr` by its side, `judge_<kind>` without one",
        tables.scores_schema(["<metric>", "judge_<kind>_nr"]),
    ),
    "data/score_quarantine.parquet": ("one row a score that is missing", tables.SCORE_QUARANTINE),
    "data/comparisons.parquet": (
        "one row an answer of a judge, by dimension; no rows without judges",
        tables.COMPARISONS,
    ),
    "data/groups.parquet": (
        "one row an LR image of the align split that has pairs; with pair.dial one a place on the dial, and a last column "
        "`preference` (double): its share of realism in the reward",
        tables.GROUPS,
    ),
    "data/pairs.parquet": ("one row a preference pair; with pair.dial and `preference`, as groups", tables.PAIRS),
    "data/votes.parquet": (
        "one row a vote of a person on two candidates; made by `dp2o study votes`, and read with pair.builder votes",
        tables.VOTES,
    ),
    "reports/evaluation.parquet": (
        "one row a restoration of the test split",
        tables.evaluation_schema(["<metric>"]),
    ),
}

FOLDERS = """
| path | members or content |
|---|---|
| `data/dataset/NNNNN.tar` | `<lr_id>.lr.png`, and `<lr_id>.hr.png` where there is HR; 8-bit RGB |
| `data/incoming/DIGEST.tar` | `<pixels>.png`: the pictures that one intake took in, pixels only; named by its members' names |
| `data/candidates/IIIII-of-NNNNN.tar` | `<lr_id>.<index>.png`, index with three digits; 8-bit RGB, colour-fixed, what the metrics saw; and, where the backbone works in a latent space, `<lr_id>.<index>.latent.safetensors`: one tensor `latent`, the clean x0 before the decoder and the colour fix, which training takes as it is instead of encoding the image again |
| `data/evaluation/images.tar` | `<lr_id>.<model>.<index>.png`, the first restorations of each model, for the report; `<lr_id>.<model>.deviation.png` of base and aligned, the standard deviation over all seeds, mean over channels, in quarters of a grey level, up to 63.75 |
| `models/aligned/best`, `models/aligned/last` | a backbone folder: `config.json`, `model.safetensors` |
| `models/aligned/summary.json` | steps, best step, validation rewards, digest of the reference. Read by `artifacts/training.py` alone |
| `reports/training.csv` | one row an optimiser step: loss, implicit accuracy, margin, errors, weights' spread, gradient norm, learning rate; with train.rounds above 1 a last column `round` |
| `reports/throughput.csv` | candidates trained on a second, by step; apart because it differs from run to run |
| `reports/validation.csv` | one row a validation: fixed-normaliser reward and mean of each rewarded metric; with train.rounds above 1 a last column `round` |
| `reports/evaluation.json` | `reward`, `metrics.<name>`: base, aligned, difference, ci_low, ci_high, higher_is_better, in_reward, verdict; win rate; Best/Mean/Worst@M; peers; controls; `seed_deviation`, the mean of those pictures in grey levels; digests, and each metric's own. All of the images with HR (`has_hr`; of those without where none has one); `without_hr` has the same figures of the others, whose reward is another formula. Read by `artifacts/evaluation.py` alone |
| `reports/normaliser.json` | per-metric minimum and maximum of the base model's candidates on the test split. Read by `rewards/normaliser.py` alone |
| `reports/registration.json` | model, version and alias that register set, MLflow's run, digests of weights and result. Read by `artifacts/registration.py` alone |
| `reports/gate.json` | the last promotion's gate: challenger, champion, benchmark set, and a row a check. Read by `artifacts/gate_report.py` alone |
| `reports/intake.json`, `reports/drift.json`, `reports/champion.json`, `data/retrain.json` | of a retraining: what came in; whether it differs, and the decision; which champion is in `models/champion`; which shards a training has seen, and the attempt under way. Read by `artifacts/retraining.py` alone |
| `data/intake.json` | how far intake has come, by source: a time, and what was handled shortly before it |
| `data/benchmark/vN-DIGEST/` | a frozen benchmark set: `manifest.json`, and `data/dataset` and `data/dataset.parquet` as above |
| `data/test_sets/NAME.json` | digests of the files of a public test set, written when `dp2o benchmark` first used it |
| `reports/benchmark/NAME/` | `table.md`, `table.tex`, `table.csv`: models on that set, beside the published figures |
| `reports/index.html` | the report |
| `reports/figures` | its plots and close-ups as SVG and PNG: `gain`, `best_mean_worst`, `validation`, `training`, `closeups` |
"""


def page() -> str:
    """The contract in markdown."""
    parts = [
        "# The contract between stages",
        "",
        "For people who read what a stage wrote, or write a stage: every file between stages, with its columns and what "
        "they mean.",
        "",
        "Made from the schemas by `python -m components.artifacts.describe`. Rows are parquet, checked on writing and "
        "on reading; images are tar shards in the WebDataset layout, written once.",
    ]
    for path, (about, schema) in FILES.items():
        parts += [
            "",
            f"## {path}",
            "",
            f"{about[0].upper()}{about[1:]}.",
            "",
            "| column | type | meaning |",
            "|---|---|---|",
        ]
        for field in schema:
            optional = ", may be null" if field.nullable else ""
            parts.append(f"| `{field.name}` | {field.type}{optional} | {field.metadata[b'about'].decode()} |")
    return "\n".join(parts) + "\n\n## Images, models and figures\n" + FOLDERS


if __name__ == "__main__":
    print(page(), end="")
