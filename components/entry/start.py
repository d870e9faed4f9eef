"""Where `python -m components.<stage>` begins: what ends it well stands around the imports of all it needs."""

from components.interruption import ends_well


def stage(name: str) -> None:
    """Run the stage that the command line describes, and exit with its code."""
    with ends_well(f"dp2o {name}", resumes=True):
        from components.entry.main import stage_main  # noqa: PLC0415  # seconds of imports

        stage_main(name)
