"""What to measure while a pipeline denoises: one question a file."""
