"""One paper figure or table a file, drawn from a run directory without a model."""
