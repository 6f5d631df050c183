"""Stubs of this package that know the keys of a project's schemas, so that `ctx["lr"]` has a type.

`generate` makes them. `schema_list` imports the project's modules and lists their schemas; `type_names` writes the type
of each key as text. `class_outline` reduces each module of this package to its signatures. `key_overloads` adds the
keys and the metrics to these outlines as overloads. `ast.unparse` turns the result into the text of the stubs.
"""
