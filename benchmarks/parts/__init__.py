"""The parts of `python -m benchmarks.speed`, one file each."""
