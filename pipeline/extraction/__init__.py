"""Shared parts of the extractors: the loop, paths, records and their clock, the scratch cache, kept models."""
