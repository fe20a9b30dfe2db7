"""The table of utterances that runs through stage 1, and what prepare measures of it."""
