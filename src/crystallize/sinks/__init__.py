"""Sinks: objects that receive the events of a context. Each backend is a module that is imported by its own name.

A context calls `handle` with each event. `memory` stores the events. `opentelemetry` reports them at once. `mlflow`,
`tensorboard` and `wandb` put them into a `delivery_queue`, whose thread sends them in batches. `naming` makes the names
of their metrics. `undelivered` counts the data that a backend rejects, and warns of it when the sink is closed.
`entry_points` finds the sinks of all installed packages by name.
"""
