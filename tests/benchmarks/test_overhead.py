"""The overhead benchmark on few shards."""

import json
from pathlib import Path

import pytest

from benchmarks import overhead
from components.errors import ExitCode


def test_a_shard_costs_a_create_and_a_delete_and_all_share_the_watches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert overhead.main(["--shards", "1", "20", "--json", str(tmp_path / "out.json")]) == ExitCode.OK
    one, twenty = json.loads((tmp_path / "out.json").read_text())["shards"]
    assert (twenty["calls"]["POST jobs"], twenty["calls"]["DELETE jobs"]) == (20, 20)
    assert twenty["calls"]["WATCH jobs"] == twenty["calls"]["WATCH pods"] == 1
    assert twenty["calls_a_shard"] < one["calls_a_shard"]
    assert "calls/shard" in capsys.readouterr().out


def test_latency_needs_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert overhead.main(["--only", "latency"]) == ExitCode.BAD_INPUT
    assert "needs --image" in capsys.readouterr().err
