"""Figures, each described once: `of_analyses` and `of_runs` describe, `interactive` and `static` draw.

`description` has the parts of a figure, with no plotting library in them. `interactive` draws with plotly for the page,
`static` with matplotlib for PDF and PNG.
"""
