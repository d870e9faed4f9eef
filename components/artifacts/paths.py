"""Where the contract's artifacts lie, relative to a project's root."""

from pathlib import Path

EVALUATION = Path("reports/evaluation.json")
EVALUATION_ROWS = Path("reports/evaluation.parquet")
EVALUATION_PICTURES = Path("data/evaluation/images.tar")
NORMALISER = Path("reports/normaliser.json")
GATE_REPORT = Path("reports/gate.json")
INTAKE_REPORT = Path("reports/intake.json")
DRIFT_REPORT, DRIFT_PAGE = Path("reports/drift.json"), Path("reports/drift.html")
CHAMPION_REPORT = Path("reports/champion.json")
MONITOR_REPORT, MONITOR_PAGE = Path("reports/monitor.json"), Path("reports/monitor.html")
PAGE = Path("reports/index.html")
REGISTRATION = Path("reports/registration.json")
TRAINING_CURVE = Path("reports/training.csv")
VALIDATION_CURVE = Path("reports/validation.csv")
THROUGHPUT = Path("reports/throughput.csv")
SPREAD_PLOT = Path("reports/plots/best_mean_worst.csv")
FIGURES = Path("reports/figures")
"""The report's plots and close-ups as SVG and PNG."""

ALIGNED = Path("models/aligned")
BEST, LAST = ALIGNED / "best", ALIGNED / "last"
TRAINING_SUMMARY = ALIGNED / "summary.json"
CHAMPION = Path("models/champion")

INCOMING = Path("data/incoming")
INCOMING_ROWS = Path("data/incoming.parquet")
INTAKE_STATE = Path("data/intake.json")
TRAINED_SHARDS = Path("data/retrain.json")
BENCHMARKS = Path("data/benchmark")
TEST_SETS = Path("data/test_sets")
"""Digest lists of the public test sets that were used."""
PUBLIC_BENCHMARKS = Path("reports/benchmark")

DATASET = Path("data/dataset")
DATASET_ROWS = Path("data/dataset.parquet")
QUARANTINE = Path("data/quarantine.parquet")
PROMPTS = Path("data/prompts.parquet")
CANDIDATES = Path("data/candidates")
CANDIDATE_ROWS = Path("data/candidates.parquet")
SCORES = Path("data/scores.parquet")
SCORE_QUARANTINE = Path("data/score_quarantine.parquet")
COMPARISONS = Path("data/comparisons.parquet")
GROUPS = Path("data/groups.parquet")
PAIRS = Path("data/pairs.parquet")
VOTES = Path("data/votes.parquet")
"""People's votes on candidates; `dp2o study votes` makes it, pair.builder votes reads it."""
