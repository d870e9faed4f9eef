"""A saved model in other software's formats: what takes it there imports nothing of this project."""
