# Every target works in a fresh clone with Python 3.11 or newer on the machine, and nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Byte code of PyTorch and the developers' tools is written when a module is first imported; for all
# of torch at once it would take longer than the installation.
PIP_INSTALL := $(PIP) install --quiet --no-compile -c constraints.txt
# The developed-on version first.
PYTHON_CANDIDATES := $(PYTHON) python3.11 python3 python3.12 python3.13
DEMO_OUT := demo-results
# One process a core and one thread in each: threads of several processes would wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile
# One browser at a time: two have stopped answering at once, in a way that no time limit inside the
# tests could end.
BROWSER_TESTS := OMP_NUM_THREADS=1 timeout -k 10 900 $(BIN)/pytest tests/browser --cov --cov-append --cov-report=term
# mkdocs speaks of its own future at every start unless told not to.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
STRICTLY_COVERED := src/msqnet/video/*,src/msqnet/metrics/*,src/msqnet/inference/*,src/msqnet/predictions.py

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'
	@echo "Variables: VIDEO=path (demo), PYTHON=interpreter, TORCH_INDEX=address of an index with another torch build"

.PHONY: setup
setup: $(VENV)/.installed-dev ## create .venv with everything that users and developers need

$(BIN)/python:
	@for candidate in $(PYTHON_CANDIDATES); do \
	  if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "making $(VENV) with $$($$candidate --version)"; \
	    [[ $$($$candidate --version) == "Python 3.11."* ]] || echo "note: tested on Python 3.11"; \
	    exec $$candidate -m venv $(VENV); \
	  fi; \
	done; \
	echo "no Python 3.11 or newer with venv found (tried: $(PYTHON_CANDIDATES)); install it, or say PYTHON=path" >&2; exit 1

# torch goes first and pinned, so that no other package chooses its build.
$(VENV)/.installed-torch: constraints.txt | $(BIN)/python
	@echo "installing torch"
	@$(PIP_INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	@echo "installing msqnet and what the demo needs"
	@$(PIP) install --quiet -c constraints.txt --editable '.[demo]'
	@touch $@

# Dependency groups need pip 25.1.
$(VENV)/.installed-dev: $(VENV)/.installed-torch $(VENV)/.installed-demo
	@echo "installing the optional parts and the developers' tools"
	@$(PIP) install --quiet --no-compile --upgrade 'pip>=25.1'
	@$(PIP_INSTALL) --editable '.[all]' --group dev
	@touch $@

.PHONY: setup-browser
setup-browser: ## install Debian's chromium for the tests of pages, where there is none and apt-get can be used
	@if command -v chromium chromium-browser >/dev/null; then \
	  echo "browser: $$(command -v chromium chromium-browser | head -1)"; \
	elif ! command -v apt-get >/dev/null || [[ $$(id -u) -ne 0 ]]; then \
	  echo "no chromium on PATH, and it cannot be installed here (that needs apt-get and root): tests of pages are skipped"; \
	elif apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; then \
	  echo "browser: $$(command -v chromium)"; \
	else \
	  echo "apt-get could not install chromium: tests of pages are skipped"; \
	fi

.PHONY: demo
demo: $(VENV)/.installed-demo ## recognise actions in real videos with the shipped model, or in VIDEO=path
	@rm -rf $(DEMO_OUT) && $(BIN)/msqnet predict "$(or $(VIDEO),src/msqnet/demo)" --out $(DEMO_OUT) --overlay && \
	$(BIN)/msqnet report $(DEMO_OUT) >/dev/null && \
	echo && echo "The files lie in $(CURDIR)/$(DEMO_OUT):" && \
	(cd $(DEMO_OUT) && find . -type f | sort | sed 's,^\./,  ,') && \
	echo && echo "Open the report in a browser:" && echo "$(CURDIR)/$(DEMO_OUT)/report.html"

.PHONY: fmt
fmt: $(VENV)/.installed-dev ## format the code and mend what can be mended
	@$(BIN)/ruff check --fix --exit-zero --quiet .
	@$(BIN)/ruff format .

.PHONY: check
check: $(VENV)/.installed-dev ## formatting, lint, types, import layers, spelling, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(MKDOCS) build --strict --quiet

.PHONY: test
test: $(VENV)/.installed-dev ## all tests but the slow ones, with coverage (overall and of the strictly covered parts)
	$(PYTEST) -m 'not slow' --ignore=tests/browser --cov --cov-report=
	$(BROWSER_TESTS) || { [[ $$? -eq 124 || $$? -eq 137 ]] && echo "the browser hung: once more" && $(BROWSER_TESTS); }
	@$(MAKE) --no-print-directory strict-coverage

.PHONY: strict-coverage
strict-coverage:
	@total=$$($(BIN)/coverage report --include='$(STRICTLY_COVERED)' --format=total --fail-under=0); \
	echo "branch coverage of video, metrics, inference, predictions: $$total % (at least 95)"; \
	[[ $$total -ge 95 ]] || { $(BIN)/coverage report --include='$(STRICTLY_COVERED)' --show-missing --fail-under=95; exit 1; }

.PHONY: test-all
test-all: $(VENV)/.installed-dev ## every test, the slow ones too
	$(PYTEST)

.PHONY: docs
docs: $(VENV)/.installed-dev ## the documentation site, strictly, into build/site
	$(MKDOCS) build --strict

.PHONY: docs-serve
docs-serve: $(VENV)/.installed-dev ## the documentation site on http://127.0.0.1:8000, rebuilt on every change
	$(MKDOCS) serve

.PHONY: screenshots
screenshots: $(VENV)/.installed-dev setup-browser ## make the pictures of the documentation anew
	@for script in docs/make_pictures/*.py; do \
	  echo "$$script"; $(BIN)/python "$$script" docs/pictures; \
	done

.PHONY: bench
bench: $(VENV)/.installed-dev ## speed beside transformers and PyAV, with shares of the machine's limits (15 minutes)
	@$(BIN)/python -m benchmarks.speed --preset bench
	@$(BIN)/python -m benchmarks.peers --rounds 2 --seconds 5 --only X3D-XS MobileNetV3-Small-TSM

.PHONY: bench-quick
bench-quick: $(VENV)/.installed-dev ## the same, shorter; fails if a ratio falls below its floor (8 minutes)
	@$(BIN)/python -m benchmarks.speed --preset quick --floors

.PHONY: bench-full
bench-full: $(VENV)/.installed-dev ## the same on a minute of video, and how cost grows (hours)
	@$(BIN)/python -m benchmarks.speed --preset full
	@$(BIN)/python -m benchmarks.speed.growth

.PHONY: findings
findings: ## show again what surprised us in other software (needs the network; not part of CI)
	@changed=0; for script in findings/*.sh; do \
	  echo "$$script"; bash "$$script" || { echo "changed: $$script" >&2; changed=1; }; \
	done; exit $$changed

.PHONY: build
build: $(VENV)/.installed-dev ## wheel and source archive into dist/
	@$(BIN)/python -m build

.PHONY: test-wheel
test-wheel: build ## install the wheel into an empty environment, away from this folder, and run its demo
	@rm -rf build/wheel && mkdir -p build/wheel && $(BIN)/python -m venv build/wheel/venv
	@wheel=$$(ls -t dist/msqnet-*.whl | head -1); cp constraints.txt build/wheel/ && cd build/wheel && \
	pip() { venv/bin/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt "$$@"; }; \
	echo "installing $$wheel" && pip $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch && pip "../../$$wheel[demo]" && \
	videos=$$(venv/bin/python -c 'import msqnet.demo; print(msqnet.demo.FOLDER)') && \
	venv/bin/msqnet predict "$$videos" --out results && venv/bin/msqnet report results && venv/bin/msqnet doctor --offline && ls results

# Tests of what depends most on other packages; `LOWEST` turns `name>=1.2` into `name==1.2`.
LOWEST := import re, tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
  print(*(re.sub(r"(\[.*\])?>=([^,]+).*", r"==\2", item) for item in project["dependencies"]), sep="\n")
.PHONY: test-lowest
test-lowest: | $(BIN)/python ## test with the lowest version that is allowed of every core dependency
	@rm -rf build/lowest && mkdir -p build/lowest && $(BIN)/python -m venv build/lowest/venv
	@$(BIN)/python -c '$(LOWEST)' > build/lowest/constraints.txt && cat build/lowest/constraints.txt
	@pip() { build/lowest/venv/bin/python -m pip --disable-pip-version-check install --quiet --no-compile "$$@"; }; \
	pip --upgrade 'pip>=25.1' && pip -c build/lowest/constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch && \
	pip -c build/lowest/constraints.txt --editable '.[all]' --group dev
	@OMP_NUM_THREADS=1 build/lowest/venv/bin/python -m pytest -q tests/unit/{video,data,formats,inference,batch,cli,report}

.PHONY: clean
clean: ## remove .venv, caches and what commands wrote here
	@rm -rf $(VENV) build dist $(DEMO_OUT) .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
