# Each does everything on a fresh machine: `make demo`, `make demo-viewer` (needs npm once), `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo demo-viewer viewer-assets test lint bench clean

demo: $(VENV)/.light
	$(BIN)/chainzoom zoom examples/cat.png --to 256 --out demo-out --overwrite
	@echo
	@echo "The pictures are in $(CURDIR)/demo-out: open index.html, strip.png or zoom.mp4."

demo-viewer: viewer-assets
	$(BIN)/chainzoom view examples

viewer-assets: $(VENV)/.viewer
	@test -f chainzoom/viewer/static/vendor/openseadragon.min.js || $(BIN)/python -m chainzoom.viewer.vendor

test: $(VENV)/.full lint
	@test -f chainzoom/viewer/static/vendor/openseadragon.min.js || $(BIN)/python -m chainzoom.viewer.vendor >/dev/null 2>&1 || echo "no npm here: the viewer's browser tests will skip"
	$(BIN)/python -m pytest --ignore=tests/training
	$(BIN)/python -m pytest tests/training

lint: $(VENV)/.full
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.full
	$(BIN)/python benchmarks/run_all.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "chainzoom needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.light: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --quiet --editable .
	@touch $@

$(VENV)/.full: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --quiet --editable '.[dev,all]'
	@touch $@ $(VENV)/.light

$(VENV)/.viewer: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --quiet --editable '.[viewer]'
	@touch $@ $(VENV)/.light

clean:
	rm -rf $(VENV) demo-out
