"""Command `python -m pipeline.extract_media`: sound and picture of a corpus in one pass over its files."""
