"""What a run costs, from the shapes of its networks alone: no weights, no data, no GPU."""
