# Works with any POSIX make. Needs Python 3.11 or newer, or uv to fetch one. Everything is installed into .venv, once; without a change nothing goes to the network again.
.POSIX:
.SUFFIXES:

VENV = .venv
PY = $(VENV)/bin/python
# Which interpreter builds the environment, the first that is new enough.
PYTHON = python3 python3.14 python3.13 python3.12 python3.11 python
RUN_EXTRAS = report
DEV_EXTRAS = report,explore,trio,dt,dev
SOURCES = asyncirq devices tests

STOCK = traces/linux/a4-61-stock-e1000-icount
THREADIRQS = traces/linux/b4-61-threadirqs-e1000-icount
RT = traces/linux/c4-61-rt-e1000-icount
ARM64 = traces/linux/A-61-stock-arm64-gicv3
ARM64_THREADIRQS = traces/linux/A-61-threadirqs-arm64-gicv3
WHATIF = asyncirq whatif $(STOCK) --under stock,threadirqs,rt --out out/

.PHONY: help run accuracy test lint conformance bench clean

help:
	@echo 'make run          what would threadirqs and PREEMPT_RT do to a captured machine? writes out/'
	@echo 'make accuracy     the same, beside what the other kernels really did'
	@echo 'make test         ruff, mypy --strict and every test'
	@echo 'make lint         ruff and mypy alone'
	@echo 'make conformance  say of every catalogued behaviour whether a test shows it'
	@echo 'make bench        measure the speed of the model'
	@echo 'make clean        remove the environment and everything generated'

run: $(VENV)/.run-ready
	$(PY) -m $(WHATIF)

accuracy: $(VENV)/.run-ready
	$(PY) -m $(WHATIF) --against $(THREADIRQS)
	$(PY) -m $(WHATIF) --against $(RT)
	$(PY) -m asyncirq whatif $(THREADIRQS) --under threadirqs,stock --against $(STOCK) --out out/
	$(PY) -m asyncirq whatif $(THREADIRQS) --under rt --against $(RT) --out out/
	$(PY) -m asyncirq whatif $(RT) --under rt,stock --against $(STOCK) --out out/
	$(PY) -m asyncirq whatif $(RT) --under threadirqs --against $(THREADIRQS) --out out/
	$(PY) -m asyncirq whatif $(ARM64) --under stock,threadirqs --against $(ARM64_THREADIRQS) --out out/

test: lint
	$(PY) -m pytest

lint: $(VENV)/.dev-ready
	$(PY) -m ruff check $(SOURCES)
	$(PY) -m ruff format --check $(SOURCES)
	$(PY) -m mypy --strict $(SOURCES)

conformance: $(VENV)/.dev-ready
	$(PY) tests/conformance/report.py

bench: $(VENV)/.dev-ready
	$(PY) tests/bench/bench.py

clean:
	rm -rf $(VENV) out dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@for candidate in $(PYTHON); do \
	    if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        echo "$$candidate -m venv $(VENV)"; \
	        exec "$$candidate" -m venv --clear $(VENV); \
	    fi; \
	done; \
	if command -v uv >/dev/null 2>&1; then \
	    echo "uv venv $(VENV)"; \
	    exec uv venv --clear --seed --python '>=3.11' $(VENV); \
	fi; \
	echo 'asyncirq needs Python 3.11 or newer with its venv module, and none of these is one: $(PYTHON)' >&2; \
	echo 'Install one, or name it: make PYTHON=/path/to/python3 ...' >&2; \
	exit 1

# The build tool is pinned with the rest, hence no build isolation.
$(VENV)/.run-ready: $(PY) pyproject.toml constraints.txt
	@EXTRAS='$(RUN_EXTRAS)'; $(INSTALL)
	@touch $@

$(VENV)/.dev-ready: $(PY) pyproject.toml constraints.txt
	@EXTRAS='$(DEV_EXTRAS)'; $(INSTALL)
	@touch $@ $(VENV)/.run-ready

INSTALL = set -e; echo "installing asyncirq[$$EXTRAS] into $(VENV)"; \
	PIP_DISABLE_PIP_VERSION_CHECK=1; export PIP_DISABLE_PIP_VERSION_CHECK; \
	$(PY) -m pip install --quiet --constraint constraints.txt hatchling; \
	$(PY) -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[$$EXTRAS]"
