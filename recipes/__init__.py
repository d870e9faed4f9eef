"""How committed weights were made; no stage of the pipeline depends on what is here."""
