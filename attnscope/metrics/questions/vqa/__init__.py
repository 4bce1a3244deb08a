"""What answers questions about images: models of transformers, and the embedded world's reader."""
