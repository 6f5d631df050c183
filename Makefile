# Development tasks. Each installs what it needs into .venv, and again only after a change of pyproject.toml or
# constraints.txt. All that must be there is Python 3.11 or later, with pip, and make.

PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
VERSIONS := pyproject.toml constraints.txt
SOURCES := $(shell find src -type f -not -name '*.pyc')
# No isolation, since pip would fetch the build backend anew for each install, and past the constraints.
PIP_FLAGS := -q --disable-pip-version-check --no-build-isolation
# Nothing is compiled that may never be imported.
INSTALL := -m pip install $(PIP_FLAGS) --no-compile
PIP_INSTALL := $(INSTALL) -c constraints.txt
# Tests go to whichever processor is free, most of those of one file to the same.
PYTEST := -m pytest -n auto --dist worksteal
QUICK := -m 'not long and not slow'
# Their examples need engines that no other environment has.
TRAINING_PAGES := $(addprefix docs/how-to/,pytorch.md scikit-learn.md training.md)
SINK_PAGES := $(addprefix docs/how-to/,tensorboard.md wandb.md)
FLOW_PAGES := $(addprefix docs/how-to/,prefect.md dagster.md kedro.md)
# The examples whose keys the checkers know, and the folder of their stubs, which git ignores.
STUBS := digits pipeline.schemas pipeline.tuning -o tests/typing/keys/.stubs_cache
# The floors in pyproject.toml, with the core and the typing-inspection of that pydantic's time.
OLDEST := pydantic==2.11.0 pydantic_core==2.33.0 typing_extensions==4.13.0 typing-inspection==0.4.0
# MLflow needs older ones of these than those that are pinned.
FOR_MLFLOW := importlib_metadata==9.1.0 pyarrow==25.0.1
# Dagster needs a newer antlr4 than Hydra, whose version is pinned, and Kedro beside it an OmegaConf without antlr4.
FOR_DAGSTER := antlr4-python3-runtime==4.13.2 omegaconf==2.4.0
# Prefect needs a newer certifi than the one that is pinned, and older ones of the others.
FOR_PREFECT := certifi==2026.10.19.post1 fastapi==0.150.0 python-dateutil==2.9.0.post0

# The tests of `make test` pass on these too. Each is looked for on PATH, then under ~/.pyenv.
PYTHONS := 3.12 3.13 3.14
python_of = $(shell for python in python$1 $(wildcard $(HOME)/.pyenv/versions/$1.*/bin/python); do \
	$$python -c '' 2>/dev/null && echo $$python && break; done)
found_pythons = $(strip $(foreach version,$(PYTHONS),$(if $(call python_of,$(version)),$(version))))

# Without bytecode, each of the many processes that the tests start would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo check test test-long test-pythons test-wheel test-page test-notebook test-integrations test-ray test-flows test-sinks test-callbacks lint typing stubs bench docs pictures release-check clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: .venv/.examples ## run the example: a model that learns handwritten digits
	.venv/bin/python docs/examples/digits.py

check: .venv/.test ## run the quick tests, in less than a minute
	.venv/bin/python $(PYTEST) $(QUICK)

test: .venv/.test ## run the tests and the examples in the docs; with COVERAGE=1, require 100 % of lines and branches
	.venv/bin/python $(PYTEST) $(if $(COVERAGE),--cov)

test-long: .venv/.test ## run the tests that take minutes, and many more examples of the property tests
	HYPOTHESIS_PROFILE=long .venv/bin/python $(PYTEST) -m 'long or hypothesis'

test-pythons: ## run the tests on each of Python 3.12, 3.13 and 3.14 that is found; fails if none is
	@$(foreach version,$(filter-out $(found_pythons),$(PYTHONS)),echo "Python $(version): not found";) test "$(found_pythons)"
	@$(MAKE) --no-print-directory --keep-going $(addprefix test-,$(found_pythons))

test-3.%: .venv-3.%/.test
	.venv-3.$*/bin/python $(PYTEST)

test-wheel: .venv-wheel/.test ## run the quick tests against the built wheel, with the oldest dependencies allowed; with ALL=1, all
	.venv-wheel/bin/python -c 'import crystallize; assert "site-packages" in crystallize.__file__'
	.venv-wheel/bin/python $(PYTEST) $(if $(ALL),,$(QUICK))

test-page: .venv-page/.page chromium ## run the tests of the page of a run in a browser
	.venv-page/bin/python -m pytest tests/browser

test-notebook: .venv-notebook/.notebook ## run the notebook of the docs
	.venv-notebook/bin/python -m pytest tests/notebook

test-integrations: test-ray test-flows test-sinks test-callbacks ## run the four tasks below, whose packages are large

test-ray: .venv-ray/.ray ## run the tests of branches on Ray
	.venv-ray/bin/python -m pytest tests/ray

test-flows: .venv-flows/.flows ## run the examples with Prefect, Dagster and Kedro
	.venv-flows/bin/python -m pytest tests/flows $(FLOW_PAGES)

test-sinks: .venv-sinks/.sinks prometheus ## run the tests of the sinks against real backends: MLflow, TensorBoard, W&B, OTLP, Prometheus
	.venv-sinks/bin/python -m pytest tests/backends $(SINK_PAGES) --cov --cov-config=tests/backends/coverage.toml

test-callbacks: .venv-callbacks/.callbacks ## run the tests of the callbacks, and the examples with PyTorch and scikit-learn
	.venv-callbacks/bin/python -m pytest tests/frameworks $(TRAINING_PAGES) --cov --cov-config=tests/frameworks/coverage.toml

lint: .venv/.lint ## check style, format, the direction of imports, and the words of the docs
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/python docs/plain_words.py
	.venv/bin/lint-imports --no-cache --no-logo

typing: .venv/.typing ## check types: mypy over all code, six checkers and two language servers over what users see
	.venv/bin/mypy
	.venv/bin/nbqa mypy docs/examples/tour.ipynb
	@# The checks below read these stubs.
	PYTHONPATH=docs/examples .venv/bin/crystallize stubs $(STUBS)
	cd tests/typing/keys && ../../../.venv/bin/stubtest crystallize --concise --mypy-config-file pyproject.toml --allowlist ../stubtest.txt
	.venv/bin/python tests/typing/check.py
	.venv/bin/python tests/typing/completeness.py
	.venv/bin/python -m pytest tests/typing

stubs: .venv/.test ## write the golden stub that the tests compare; after a change of `Context` or of the stubs
	PYTHONPATH=docs/examples .venv/bin/python -c 'from crystallize.stubs import make_stubs; \
		print(make_stubs(["pipeline.tuning"]).files["crystallize/_core/protocols.pyi"], end="")' \
		> tests/typing/golden_stub.txt

bench: .venv/.bench .venv/.pandas .venv/.polars .venv-trackers/.bench .venv-peers/.peers chromium ## run the benchmarks: a table of the hot paths, each beside what one would use instead
	@# Compiled as an installed package is, or the import would be timed with its compilation.
	.venv/bin/python -m compileall -q src
	.venv/bin/python tests/benchmarks/run.py

docs: .venv/.docs ## build the documentation, warnings as errors
	.venv/bin/python -m sphinx -n -W --keep-going -q docs docs/_build/html

pictures: .venv/.docs .venv/.bench .venv/.test chromium ## take the pictures of pages that README.md and docs show, anew
	.venv/bin/python docs/screenshots.py

release-check: .venv-release/.release ## build wheel and sdist, and check their content, metadata, version and changelog entry
	rm -rf dist
	.venv-release/bin/python -m build --no-isolation
	.venv-release/bin/twine check --strict dist/*
	.venv-release/bin/check-wheel-contents dist/*.whl
	.venv-release/bin/python tests/release/check.py dist

clean: ## remove all that these tasks make
	rm -rf wandb .venv .venv-* dist docs/_build docs/_made .coverage .coverage.* .hypothesis .*_cache tests/typing/keys/.*_cache
	find src tests docs -name __pycache__ -prune -exec rm -rf {} +

# What follows makes the environments. A file in each, empty, says which extra is installed there.

.venv/.made .venv-wheel/.made .venv-page/.made .venv-ray/.made .venv-flows/.made .venv-sinks/.made .venv-callbacks/.made .venv-notebook/.made .venv-release/.made .venv-trackers/.made .venv-peers/.made $(PYTHONS:%=.venv-%/.made): constraints.txt
	$(PYTHON) -m venv --clear $(@D)
	@# Hydra needs a package of which there is no wheel; it is built by setuptools.
	$(@D)/bin/python $(PIP_INSTALL) hatchling editables setuptools
	@touch $@

.venv/.%: .venv/.made $(VERSIONS)
	.venv/bin/python $(PIP_INSTALL) -e '.[$*]'
	@touch $@

$(PYTHONS:%=.venv-%/.made): PYTHON = $(call python_of,$(patsubst .venv-%/.made,%,$@))
$(PYTHONS:%=.venv-%/.test): .venv-%/.test: .venv-%/.made $(VERSIONS)
	.venv-$*/bin/python $(PIP_INSTALL) -e '.[test]'
	@touch $@

.venv-wheel/.test: .venv-wheel/.made $(VERSIONS) $(SOURCES)
	rm -rf dist
	.venv-wheel/bin/python -m pip wheel $(PIP_FLAGS) --no-deps -w dist .
	grep -vE '^(pydantic|pydantic_core|typing_extensions|typing-inspection)==' constraints.txt > .venv-wheel/constraints.txt
	.venv-wheel/bin/python $(INSTALL) -c .venv-wheel/constraints.txt "$$(echo dist/*.whl)[oldest]" $(OLDEST)
	@# The first install brings what the wheel needs; this one the wheel, also where its number has not changed.
	.venv-wheel/bin/python $(INSTALL) --no-deps --force-reinstall dist/*.whl
	@touch $@

# Only the tests of the page need a browser.
.venv-page/.page: .venv-page/.made $(VERSIONS)
	.venv-page/bin/python $(PIP_INSTALL) -e '.[page]'
	@touch $@

# Debian's: Playwright's own browser is not among the pinned packages, and Prometheus is none.
.PHONY: chromium prometheus
chromium prometheus:
	@command -v $@ >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends $@; }

# Ray is large, and nothing else needs it.
.venv-ray/.ray: .venv-ray/.made $(VERSIONS)
	.venv-ray/bin/python $(PIP_INSTALL) -e '.[ray]'
	@touch $@

# Three engines with some 80 packages that nothing else needs.
.venv-flows/.flows: .venv-flows/.made $(VERSIONS)
	grep -vE '^(antlr4-python3-runtime|certifi|fastapi|omegaconf|python-dateutil)==' constraints.txt > .venv-flows/constraints.txt
	.venv-flows/bin/python $(INSTALL) -c .venv-flows/constraints.txt -e '.[flows]' $(FOR_DAGSTER) $(FOR_PREFECT)
	@touch $@

# What runs a notebook nothing else needs.
.venv-notebook/.notebook: .venv-notebook/.made $(VERSIONS)
	.venv-notebook/bin/python $(PIP_INSTALL) -e '.[notebook]'
	@touch $@

# The tools that check a release nothing else needs.
.venv-release/.release: .venv-release/.made $(VERSIONS)
	.venv-release/bin/python $(PIP_INSTALL) -e '.[release]'
	@touch $@

.venv-sinks/.sinks: .venv-sinks/.made $(VERSIONS)
	grep -vE '^(importlib_metadata|pyarrow)==' constraints.txt > .venv-sinks/constraints.txt
	.venv-sinks/bin/python $(INSTALL) -c .venv-sinks/constraints.txt -e '.[sinks]' $(FOR_MLFLOW)
	@touch $@

# PyTorch alone takes 900 MB, also where pip finds its build for processors only.
.venv-callbacks/.callbacks: .venv-callbacks/.made $(VERSIONS)
	.venv-callbacks/bin/python $(PIP_INSTALL) -e '.[callbacks]'
	@touch $@

# Beside these a journal is timed.
.venv-trackers/.bench: .venv-trackers/.made $(VERSIONS)
	grep -vE '^(importlib_metadata|pyarrow)==' constraints.txt > .venv-trackers/constraints.txt
	.venv-trackers/bin/python $(INSTALL) -c .venv-trackers/constraints.txt -e '.[bench,mlflow]' mlflow dvclive $(FOR_MLFLOW)
	@touch $@

# Beside these a step is timed.
.venv-peers/.peers: .venv-peers/.made $(VERSIONS)
	.venv-peers/bin/python $(PIP_INSTALL) -e '.[peers]'
	@touch $@
