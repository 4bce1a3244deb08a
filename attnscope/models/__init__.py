"""Models: what they are called, how they are loaded, built and called, how they predict."""
