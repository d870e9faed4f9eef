"""What the ControlNet families are made of: pipelines' parts, the trainable branch, adapters, the VAE."""
