"""How a registered model is laid out, built again from its weights and settings alone, and served."""
