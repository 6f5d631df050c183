"""A run in a file.

`Journal` (journal) is a sink. It encodes each event as bytes (event_bytes), a fact, and passes it to the `RunWriter`
(run_writer). The fact is written into a memory-mapped spool (spool), which survives the process. In batches, facts are
moved into an SQLite database (database, migrations), which survives the machine. run_files creates these files or
reopens them.

Readers take the opposite way: read_run reads the rows of the database (rows), and the spool if its process died, into
`RunData`. Somebody else may have written the file, so untrusted_file checks its tables and bounds each read,
stored_facts checks the JSON in its rows, and packed_points unpacks its points. From there resume fills the state of a
new context. point_stream reads the points, and merge_archive the merged work that a context has left to the file.
loaded_run offers a `Run`. find, diff and verify answer questions about runs. run_summary reads a run in short. For runs
that have ended, ended_run does so faster, from the pages of the file (table_pages). run_index keeps the summaries of a
folder.
"""
