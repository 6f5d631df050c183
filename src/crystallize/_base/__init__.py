"""Helpers that know nothing of contexts: short texts of values, tables, annotations, optional libraries.

Every folder may import them, and they import no folder. Values and names become short texts (`text`); texts become the
rows of a `table`, which the command line prints and `html` writes for notebooks. `type_hints` reads annotations.
`optional` imports a library of an extra when it is first used. `async_waiting` lets coroutines wait for threads.
"""
