"""Callbacks: objects that a training framework calls, and that record its metrics in a context.

Each framework has a module of its own, which imports the framework: `huggingface`, `keras`, `lightgbm`, `lightning`,
`optuna`, `xgboost`. The framework calls the callback; the callback turns the call into measurements and passes them to
a `FitRecorder` (`fit_recorder.py`). It records their points in the step of the fit, with the metric and the tags that
`MetricNames` (`metric_names.py`) finds.
"""
