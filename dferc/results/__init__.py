"""What runs left behind: read, compared, tested, tabulated, drawn."""
