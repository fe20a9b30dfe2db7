"""What knows no emotions: terminal, files, devices, the code that decides a value."""

VERSION = "0.1.0"
