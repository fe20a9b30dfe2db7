"""Shared parts of the extractors: the loop, paths, the scratch cache, kept models, the clock."""
