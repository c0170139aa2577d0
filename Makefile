# `make demo` and `make test` do everything, from an empty folder on; `make` lists the rest.
# Set-up happens once, in .venv, and again when pyproject.toml changes (.stamps/ remembers).

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
# PyTorch comes first and alone. On Linux a plain torch brings CUDA libraries (several gigabytes); where the configured package
# index or find-links offers a CPU build of this version (2.13.0+cpu), pip prefers it. For another build:
# make setup TORCH='torch==2.13.0+cu130', or any file or requirement pip understands; to change it later, make clean first.
TORCH ?= torch==2.13.0
# The other version of Slicer's core that `make test-slicer` runs on, beside the one of pyproject.toml, and the VTK it was built for.
SLICER_CORE ?= 5.13.31053.0
SLICER_VTK ?= 9.6.2
# Where `make test-wheel` makes its environment.
WHEEL ?= .wheel
# Further arguments for pytest: make test ARGS='-k grid', or ARGS=-n0 for one test after the other in one process.
ARGS ?=

BIN := .venv/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq
# Small tensors gain nothing from many threads and lose to their traffic: at most four.
THREADS := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$(( n < 4 ? n : 4 )))

.PHONY: help setup demo test test-slicer test-wheel test-oldest test-newest sbom search check lint types docs docs-images slicer-images clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .stamps/run ## make .venv with the command klip in it
	@echo "Ready: $(BIN)/klip, or klip after '. $(BIN)/activate'"

demo: .stamps/run ## find planted lesions in a synthetic patient; results in demo/
	$(BIN)/klip demo -o demo

# A worker a core, each with one thread: workers with more would wait for each other. The tests of a file stay together, for they share what is
# made once; files with a slow test come first (Testing/Python/conftest.py), so that no worker is left alone with one.
test: .stamps/test ## run the tests on all cores (ARGS='-k grid' chooses some, ARGS=-n0 runs them in turn)
	QT_QPA_PLATFORM=offscreen OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(THREADS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-slicer: .stamps/slicer-$(SLICER_CORE) ## run the tests of the Slicer module on another slicer-core (SLICER_CORE=5.13.31053.0)
	PYTHONPATH=$(CURDIR)/.slicer-$(SLICER_CORE):$(CURDIR) QT_QPA_PLATFORM=offscreen OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$(THREADS)} \
	  $(BIN)/python -m pytest Testing/Slicer $(ARGS)

test-wheel: ## build a wheel, install it into an empty environment (WHEEL=.wheel) and detect there on the demo's study
	@rm -rf $(WHEEL) && mkdir -p $(WHEEL)/source && $(PYTHON) -m venv $(WHEEL)/env
	cp -r KLIPCore pyproject.toml README.md LICENSE.txt $(WHEEL)/source
	cd $(WHEEL) && PIP_DISABLE_PIP_VERSION_CHECK=1 env/bin/python -m pip wheel -q --no-deps -w . ./source
	cd $(WHEEL) && PIP_DISABLE_PIP_VERSION_CHECK=1 env/bin/python -m pip install -q '$(TORCH)' klipcore-*.whl
	cd $(WHEEL) && env/bin/python -c 'import KLIPCore, sys; assert KLIPCore.__file__.startswith(sys.prefix), KLIPCore.__file__'
	cd $(WHEEL) && env/bin/klip demo -o demo --progress none
	cd $(WHEEL) && env/bin/klip detect demo/synthetic/ct -o out --preset quick --slices 6:8 --progress none
	@echo "The wheel works: $(WHEEL)/demo/report.html and $(WHEEL)/out/report.html"

test-oldest: .venv-oldest/pyvenv.cfg ## run tests of reading, maps, physics and detection with the oldest versions that pyproject.toml allows
	$(call bounds,oldest,$(shell $(PYTHON) Testing/bounds.py oldest))

test-newest: .venv-newest/pyvenv.cfg ## the same with the newest versions there are
	$(call bounds,newest,$(shell $(PYTHON) Testing/bounds.py newest))

# An environment of its own, and what is deprecated there is no error: only what breaks counts. PyTorch as it comes is large.
define bounds
PIP_DISABLE_PIP_VERSION_CHECK=1 .venv-$(1)/bin/python -m pip install -qq --upgrade --upgrade-strategy eager $(2) pytest hypothesis nibabel scikit-image scikit-learn
PYTHONPATH=$(CURDIR) QT_QPA_PLATFORM=offscreen OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$(THREADS)} .venv-$(1)/bin/python -m pytest -W default -p no:cacheprovider \
  $(BOUNDS_TESTS) $(ARGS)
endef

BOUNDS_TESTS := Testing/Python/io Testing/Python/volume Testing/Python/maps Testing/Python/physics Testing/Python/kl Testing/Python/export \
  Testing/Python/runs Testing/Python/detection/test_detect.py

.venv-oldest/pyvenv.cfg .venv-newest/pyvenv.cfg:
	@$(PYTHON) -m venv $(@D)

sbom: .stamps/test ## write the bill of materials again: KLIPCore/sbom.cdx.json
	$(BIN)/python docs/make_sbom.py

search: .stamps/test ## run the property tests (hypothesis) on new random inputs; `make test` takes the same ones every time
	HYPOTHESIS_PROFILE=free QT_QPA_PLATFORM=offscreen OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$(THREADS)} $(BIN)/python -m pytest -m hypothesis Testing/Python $(ARGS)

check: lint types test docs ## everything a change must pass: style, types, tests, who may import whom, the site

lint: .stamps/dev ## style (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .stamps/dev ## types of KLIPCore (mypy)
	$(BIN)/mypy

docs: .stamps/docs ## build the site of the documents, the gallery and the API reference: site/index.html
	MPLBACKEND=agg OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$(THREADS)} $(BIN)/python -m sphinx -b html -W --keep-going -q -d .sphinx docs site || { rm -rf .sphinx; exit 1; }
	@echo "Ready: site/index.html"

docs-images: demo ## draw the pictures of the documents again, and the tables of the examples
	$(BIN)/python docs/make_images.py
	$(BIN)/python examples/01_gaussian_truth.py
	$(BIN)/python docs/make_tables.py
	$(BIN)/python docs/make_settings.py

slicer-images: demo .stamps/test ## draw the panel and the slice views of the Slicer module, before and after moving the slider
	$(BIN)/python docs/make_slicer_images.py demo
	QT_QPA_PLATFORM=offscreen $(BIN)/python docs/make_slicer_panel.py demo
	$(BIN)/python docs/make_slicer_looks.py
	QT_QPA_PLATFORM=offscreen $(BIN)/python docs/make_slicer_story.py demo

clean: ## remove what these commands made, .venv included
	rm -rf .venv .venv-* .slicer-* .wheel .stamps .sphinx demo site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf docs/generated docs/gallery docs/__pycache__
	find KLIPCore Testing -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)'. Install Python 3.11 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); KLIPCore needs Python 3.11 or newer. Name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments. Install its venv module (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.stamps/torch: .venv/pyvenv.cfg
	@mkdir -p .stamps
	@echo "Installing $(TORCH) (once; it is large)"
	@$(PIP) '$(TORCH)'
	@touch $@

.stamps/run: .stamps/torch pyproject.toml
	@echo "Installing KLIPCore and what it needs"
	@$(PIP) --editable .
	@touch $@

.stamps/slicer-$(SLICER_CORE): .stamps/test
	@echo "Installing slicer-core $(SLICER_CORE) beside .venv"
	@rm -rf .slicer-$(SLICER_CORE)
	@$(PIP) --no-deps --target .slicer-$(SLICER_CORE) 'slicer-core==$(SLICER_CORE)' 'vtk==$(SLICER_VTK)'
	@touch $@

.stamps/test .stamps/dev .stamps/docs: .stamps/%: .stamps/torch pyproject.toml
	@echo "Installing KLIPCore and what its $* needs"
	@$(PIP) --editable '.[$*]'
	@touch $@
