"""Baselines on the same features, splits, seeds and protocol card as DF-ERC, named in `registry.py`."""
