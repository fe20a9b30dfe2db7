"""Baselines on the same features, splits, seeds and protocol card as DF-ERC: one file each, named in `registry.py`."""
