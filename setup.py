"""What pyproject.toml cannot say: a wheel brings along files that lie beside its packages (components/template.py)."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PACKED = ("params.yaml", "dvc.yaml", "weight-packages.txt", "presets", "launch")


class WithPackedFiles(build_py):
    """Copies them into components/packed."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "components", "packed")
        shutil.rmtree(target, ignore_errors=True)
        for name in PACKED:
            source = Path(__file__).parent / name
            files = [source] if source.is_file() else sorted(source.glob("*.yaml"))
            for file in files:
                kept = target / file.relative_to(source.parent)
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, kept)


setup(cmdclass={"build_py": WithPackedFiles})
