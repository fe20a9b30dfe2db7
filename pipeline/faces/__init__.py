"""Faces: detection, tracking, choice of the speaker, and the face network."""
