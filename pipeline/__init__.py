"""Stage 1 of DF-ERC: media and transcripts -> cached features. One module per DVC stage; heavy dependencies live here."""
