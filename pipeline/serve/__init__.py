"""`dferc-serve`: a page on localhost that takes a video and shows its emotions, and the same as a JSON API."""
