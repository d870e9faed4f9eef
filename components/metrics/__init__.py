"""Image quality metrics behind one protocol, and the rewards made of them; shared by score, train and evaluate."""
