"""Online rounds of a training: sample, score, pair, train, and again."""
