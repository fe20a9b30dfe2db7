"""Faces: finding, following, choosing, and the network that describes them."""
