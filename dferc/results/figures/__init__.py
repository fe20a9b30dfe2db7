"""Figures, each described once as plain data; page/figures.js draws them with plotly, `static` with matplotlib."""
