"""What the extractors share: the loop, places, the scratch cache, kept models, the clock."""
