"""The `crystallize` command, on top of everything else in the package.

`app.py` makes the command of its subcommands, and turns an error into a line and an exit status. Each subcommand is a
function in a file of its name, as `diff_command.py`, whose parameters are its arguments and options. It loads the runs
that `chosen_run.py` finds, and prints by `output.py`. `show_tables.py` lays a run out for reading. `watch.py` draws a
run that is being written, which `live_run.py` reads again and again.
"""
