"""The embedded world: scenes with a ground truth, a model trained on them, and its reader."""
