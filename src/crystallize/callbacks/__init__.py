"""Callbacks: objects that a training framework calls, and that record its metrics in a context.

Each framework has a module of its own, which imports the framework: `huggingface`, `keras`, `lightgbm`, `lightning`,
`optuna`, `xgboost`. The framework calls the callback; the callback turns the call into measurements and passes them to
a `FitRecorder` (`fit_recorder.py`), which finds the metric and the tags of each, and records the points in the step of
the fit.
"""
