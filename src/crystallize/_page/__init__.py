"""A run, or several compared, as one HTML page; and a series as a plotly figure.

`html_page` reads runs from `_journal` and describes them by `_tables`, has `timeline`, `lineage`, `charts` and
`artifact_previews` lay out each part, and fills the Jinja2 templates in `templates/` with the result. `charts` and
`series_figure` draw the same curves: `metric_curves` splits a series by its tags and downsamples it, `axes` gives the
bounds and ticks, `svg_path` the paths that are shown until plotly draws a chart.
"""
