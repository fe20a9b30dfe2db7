"""Stage 1 of DF-ERC: media and transcripts -> cached features; one module per DVC stage, and what they share."""

import dferc.core  # noqa: F401 - sets how threads wait, before torch is imported anywhere
