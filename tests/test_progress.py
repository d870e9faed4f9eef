import sys

import pytest

from components.progress import SECONDS_A_LINE, counter


def counted(seconds_a_step: float, steps: int = 10) -> None:
    """Steps by a clock of our own."""
    now = [0.0]
    with counter(iterable=range(steps), desc="work", unit="step") as bar:
        bar._time = lambda: now[0]
        bar.start_t = bar.last_print_t = 0.0
        for _ in bar:
            now[0] += seconds_a_step


def test_off_a_terminal_what_is_soon_done_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TQDM_MININTERVAL", raising=False)
    counted(1.0)
    assert capsys.readouterr().err == ""


def test_off_a_terminal_there_is_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TQDM_MININTERVAL", raising=False)
    counted(SECONDS_A_LINE / 2 + 1)
    said = capsys.readouterr().err
    lines = said.splitlines()
    assert [line.partition("/")[0].split()[-1] for line in lines] == ["2", "4", "6", "8", "10", "10"]  # and the end
    assert all(line.startswith("work:") for line in lines)
    assert "\r" not in said


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    counted(1.0)
    assert "\rwork: 100%" in capsys.readouterr().err


def test_another_interval_can_be_set(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    counted(1.0, steps=3)
    assert [line.partition("/")[0].split()[-1] for line in capsys.readouterr().err.splitlines()][-1] == "3"
