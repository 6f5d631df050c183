"""The module path of the published package.

`crystallize.utils.context` re-exports the three classes that were published there first.
"""
