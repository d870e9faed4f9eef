"""The files of the repository that an installed package brings along: settings, pipeline, presets, pins.

In a checkout they lie where people read them; building a wheel copies them into it (setup.py).
"""

from pathlib import Path

CODE = Path(__file__).resolve().parents[1]
"""What paths such as `components/prepare` are relative to."""

_PACKED = Path(__file__).resolve().parent / "packed"
FOLDER = _PACKED if _PACKED.is_dir() else CODE
"""Where params.yaml, dvc.yaml, presets/ and weight-packages.txt are."""

IS_CHECKOUT = (CODE / "pyproject.toml").is_file()
