"""Stage 1 of DF-ERC: media and transcripts -> cached features; one module per DVC stage, and what they share."""
