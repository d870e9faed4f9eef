"""Have the LR images that come in changed? Their statistics against the training set's."""
