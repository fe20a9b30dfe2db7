"""Scores, predictions and baselines of trained runs."""
