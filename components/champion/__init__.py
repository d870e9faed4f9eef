"""The champion's weights as files, for the next training to start from."""
