"""Predicted emotions of one medium: the document (`document.Emotions`), its other formats, and its page."""
