"""Text encoders: loading, fine-tuning, windows, vectors."""
