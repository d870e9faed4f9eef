import subprocess
import sys
from importlib.util import find_spec

import pytest

from components.backbones.without_quantisation import PACKAGE, without_quantisation
from tests.made import REPOSITORY

START = """
import sys
from importlib.util import find_spec
from tests.made import tiny_model

model = tiny_model()
model.sampler.schedule(next(model.policy.parameters()))
heavy = {"bitsandbytes", "torch._inductor.compile_fx"}
print(sorted(heavy & set(sys.modules)), find_spec("bitsandbytes") is not None)
"""


def test_a_small_model_starts_without_what_quantised_weights_need() -> None:
    done = subprocess.run(
        [sys.executable, "-c", START], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == f"[] {find_spec(PACKAGE) is not None}"


def test_it_is_there_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, sys)
    monkeypatch.delitem(sys.modules, PACKAGE)
    with without_quantisation():
        assert find_spec(PACKAGE) is None
        with pytest.raises(ImportError):
            __import__(PACKAGE)
    assert PACKAGE not in sys.modules


def test_who_has_imported_it_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, sys)
    with without_quantisation():
        assert sys.modules[PACKAGE] is sys
    assert sys.modules[PACKAGE] is sys
