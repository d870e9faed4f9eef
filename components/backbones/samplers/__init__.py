"""The loops that turn noise into latents, apart from the networks that predict."""
