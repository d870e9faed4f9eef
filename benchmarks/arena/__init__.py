"""Published methods and their controls under one judge, one budget and the same seeds: `python -m benchmarks.arena`."""
