"""File formats -> plain values and columns, whatever corpus they are of."""
