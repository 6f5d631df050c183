"""Points and runs as tables, rows and text, for other programs.

`point_source` reads the points of a context, a series, a run or a file. `columns` turns the packed blocks of points
into Arrow arrays, and `arrow_table` puts these together to record batches. On top are the public functions, in
`frame_conversion`, `runs_table` and `file_writer`. The command and the page start from a run in place of its points:
`run_description` describes it, and `export` lists its values and points as rows, and writes these as JSON and CSV.
`run_rows` is the table of runs, a row a run, whose columns `column_names` finds by short names; `run_filter` has the
conditions.
"""
