"""Figures, each described once without a plotting library: `of_analyses` and `of_runs` make `description`s.

report/page/figures.js draws them with plotly, `static` with matplotlib as PDF and PNG.
"""
