"""A video in, emotions out: `dferc-video`, and `Recogniser` for Python."""
