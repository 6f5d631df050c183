"""The context: its keys, metrics, artifacts and steps, and the sinks that receive its events.

A write goes through a handle (`context.py`) to the state (`state.py`). There the validator of the key checks the value
(`schema.py`), and a private copy of the value is made (`freezing.py`). Then the key is claimed, and an event goes to
the sinks (`event_dispatch.py`). A point goes through a recorder (`fast_recorders.py`, `metric_store.py`) to the log of
its metric (`point_log.py`), which packs it into columns. A step notes the reads and writes through its handle, and adds
a record when it ends (`steps.py`, `provenance.py`). A coroutine waits for sinks in threads (`async_sinks.py`). Keys,
points, artifacts and records are each in an `OrderedLog`.

The core does not know the folders above it. They extend it in five places: sections in an `OrderedLog`, an `Extension`
of the state, and the sink hooks `attach` and `handle_batch`. The fifth is a `Baseline` of earlier work with which a
context starts.
"""
