"""Sound and pictures of media files."""
