"""Branches: `fork`, `merge`, `fan_out` and `afan_out`.

`fork` makes a `Branch` of a context: a spec that pickles, with the contents of the context at that moment. A worker
opens a child context from it (`branch.py`), and its `Delta` (`delta.py`) travels back. `merge` inserts the work of the
delta into the logs of the parent at the marks of the fork, all of it or nothing (`merge.py`). `fan_out` does all of
this for a task and many items on an executor (`fan_out.py`, `engines.py`, `worker.py`). It takes the items one by one
(`branch_items.py`), limits the number of unmerged branches (`submission_window.py`), and merges each branch when it
ends (`branch_outcomes.py`). `afan_out` does the same with coroutines in an event loop (`async_fan_out.py`).

The registry of a context's branches (`branch_registry.py`) is an extension of its state. Many merged branches are kept
as packs, which are left to the file of a run when it has them (`merged_packs.py`).

With `@step(retries=...)` a step makes attempts in branches (`attempts.py`), which see the series, artifacts and steps
of the parent (`past_work.py`).

The parent's values at a fork (`fork_base.py`) are packed key by key (`packed_base.py`). They reach the workers once, by
a file or by the executor, or with each branch (`sending.py`, `base_file.py`, `shared_base.py`). The work of a branch
comes back in the same form (`packed_work.py`).
"""
