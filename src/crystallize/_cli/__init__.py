"""The `crystallize` command, on top of everything else in the package.

`app` makes the command of its subcommands, and turns an error into a line and an exit status. A subcommand is a
function whose parameters are its arguments and options; the files are `run_list`, `show`, `compare`, `write_out`,
`file_check` and `stub_files`. It loads the runs that `chosen_run` finds, and prints by `output`; `run_tables` lays a
run out for reading. `watch` shows the looks that `follow` takes at a run that is being written.
"""
