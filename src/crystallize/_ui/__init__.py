"""The runs of a folder in a browser: a table, the page of each run, and comparisons. All pages update themselves.

`runs_app` answers the requests, with the templates and layouts of `_page`. `folder_versions` tells whether a run or the
folder has changed. `server` binds the port and runs the app until Ctrl-C.
"""
