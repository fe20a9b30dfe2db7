"""Figures as data for plotly.js.

A colour becomes the name of a custom property of report/page/style.css, so that it suits light and dark alike. Plotly
reads a little HTML in texts, so all texts are escaped.
"""

import html

from dferc.results.figures.description import COLOURS, Axis, Figure, Matrix, Panel, Series, View


def figure_data(figure: Figure) -> dict:
    """Return a figure as page/figures.js and page/parts.html read it."""
    views = [_view(view) for view in figure.views]
    return {"key": figure.key, "title": figure.title, "choice": figure.choice, "views": views}


def _view(view: View) -> dict:
    if isinstance(view.panel, Matrix):
        traces, layout = [_heatmap(view.panel)], _matrix_layout(view.panel)
    else:
        traces, layout = [_trace(series, view.panel) for series in view.panel.series], _layout(view.panel)
    return {"name": view.name, "traces": traces, "layout": layout, "caption": view.caption}


def escape(text: object) -> object:
    """Return a text so that plotly shows it letter by letter; numbers stay as they are."""
    return html.escape(text, quote=False).replace("\n", "<br>") if isinstance(text, str) else text


def _colour(name: str) -> str:
    return f"--c{COLOURS.index(name) + 1}"


def _trace(series: Series, panel: Panel) -> dict:
    trace = {
        "name": escape(series.name),
        "x": [escape(value) for value in series.x],
        "y": [escape(value) for value in series.y],
        "showlegend": series.in_legend,
        "opacity": series.opacity if not series.marker else 1,
        "orientation": "h" if panel.y.names else "v",
    }
    notes = [escape(note) for note in series.notes]
    if panel.bars:
        return trace | {
            "type": "bar",
            "text": list(series.labels),
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textfont": {"color": "--on"},
            "customdata": notes,
            "hovertemplate": "%{y}<br>%{x:.1%} %{customdata}",
            "marker": {
                "color": _colour(series.colour),
                "pattern": {"shape": series.hatch, "fillmode": "overlay", "solidity": 0.1},
            },
        }
    marker = {"color": _colour(series.colour), "symbol": series.marker, "size": series.size, "opacity": series.opacity}
    if series.marker.endswith("-open"):
        marker["line"] = {"width": 2}
    parts = ("lines" * bool(series.line), "markers" * bool(series.marker))
    trace |= {
        "type": "scatter",
        "mode": "+".join(filter(None, parts)),
        "text": notes,
        "offsetgroup": escape(series.name),
        "line": {"color": _colour(series.colour), "width": series.width, "dash": series.line or "solid"},
        "marker": marker,
    }
    for axis, spread in (("error_x", series.x_spread), ("error_y", series.y_spread)):
        if spread is not None:
            trace[axis] = {"type": "data", "array": list(spread), "thickness": 1.5, "width": 4}
    return trace


def _layout(panel: Panel) -> dict:
    layout = {"height": panel.height, "xaxis": _axis(panel.x), "yaxis": _axis(panel.y)}
    if panel.y.names:
        layout["yaxis"]["autorange"] = "reversed"
    if panel.y.blank:
        layout["yaxis"]["scaleanchor"] = "x"
    if panel.bars:
        return layout | {"barmode": "stack", "legend": {"traceorder": "normal"}}
    has_lines = any(series.line for series in panel.series)
    return layout | ({} if has_lines or not (panel.x.names or panel.y.names) else {"scattermode": "group"})


def _axis(axis: Axis) -> dict:
    layout: dict = {"title": {"text": escape(axis.title)}} if axis.title else {}
    if axis.names:
        layout["type"] = "category"
    if axis.percent:
        layout["tickformat"] = ".0%"
    if axis.limits:
        layout["range"] = list(axis.limits)
    if axis.from_zero:
        layout["rangemode"] = "tozero"
    if axis.blank:
        layout |= {"showticklabels": False, "showgrid": False, "zeroline": False}
    return layout


def _heatmap(matrix: Matrix) -> dict:
    return {
        "type": "heatmap",
        "x": [escape(name) for name in matrix.columns],
        "y": [escape(name) for name in matrix.rows],
        "z": matrix.percent,
        "customdata": matrix.count,
        "zmin": 0,
        "zmax": 100,
        "texttemplate": "%{z:.0f}",
        "textfont": {"color": "--ink"},
        "hovertemplate": "true %{y}<br>taken for %{x}<br>%{z:.1f} %, %{customdata} utterances<extra></extra>",
        "colorscale": "--sequential",
        "colorbar": {"title": {"text": "%"}, "thickness": 12, "outlinewidth": 0},
    }


def _matrix_layout(matrix: Matrix) -> dict:
    x, y = _axis(matrix.x), _axis(matrix.y)
    x |= {"constrain": "domain", "showgrid": False}
    y |= {"autorange": "reversed", "showgrid": False}
    return {"height": matrix.height, "xaxis": x, "yaxis": y}
