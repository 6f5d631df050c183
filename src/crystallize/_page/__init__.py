"""A run, or several compared, as one HTML page; and a series as a plotly figure.

`html_page` reads runs from `_journal` and fills the Jinja2 templates in `templates/`. For one run, `results`,
`timeline`, `lineage` and `artifact_previews` lay out the parts of its description by `_tables`. For several,
`comparison` has the columns of their table and the runs whose curves are drawn, and `parallel_plot` draws inputs
against a result. `charts` and `series_figure` draw the same curves: `metric_curves` splits a series by its tags and
downsamples it, and `curve_styles` gives each curve a style of its own. `axes` computes the bounds and ticks. `svg_path`
makes the paths that are shown until plotly draws a chart.
"""
