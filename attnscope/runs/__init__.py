"""Runs on disk: prompts, batches, and the directory that a command leaves."""
