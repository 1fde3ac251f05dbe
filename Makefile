# make demo   a classifier in a minute      make test        what takes no second each: three minutes
# make check  what CI runs first            make test-ci     and what takes longer: what CI runs
# make docs   the documents as a site       make test-slow   what takes minutes each
# make format format and imports
# make fuzz   ten minutes of mutated inputs per reader; SECONDS_EACH=120 TARGETS="http zip" choose
VENV   := .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup demo check test test-ci test-slow mutants test-deploy fuzz lock format docs gpu bench
.DEFAULT_GOAL := demo

setup: $(STAMP)

# pip rather than uv: pip also looks where the machine's owner keeps wheels (PIP_FIND_LINKS).
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo 'making $(VENV) with $(PYTHON)'; $(PYTHON) -m venv $(VENV); }
	@echo 'installing catseye, everything that it can use and everything that its tests need into $(VENV): about 200'
	@echo 'packages, 7 GB where torch comes with CUDA (CONTRIBUTING.md says how without); nothing outside of it changes'
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[all,docs,dev]'
	@touch $@

demo: setup
	@$(BIN)/python examples/demo.py

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) $(PARALLEL) tests/house

# A file of tests stays in one process, so that what it trains is trained once. LEAVE_OUT=tests/house: they ran already.
LEAVE_OUT ?=
# Bytecode is kept, whatever the shell says: hundreds of processes would each compile catseye again.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest
# A process that dies ends the run: xdist may wait for ever for the tests that it held.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile --max-worker-restart 0 -rfEs
test: setup
	$(PYTEST) $(PARALLEL) -m "not slow and not gpu and not network and not long" $(addprefix --ignore=,$(LEAVE_OUT))

# What CI runs: the same under coverage, whose floor pyproject.toml has, then those over a second (tests/long.txt).
test-ci: setup
	$(PYTEST) $(PARALLEL) -m "not slow and not gpu and not network and not long" --cov --cov-report= \
	  $(addprefix --ignore=,$(LEAVE_OUT))
	$(PYTEST) $(PARALLEL) -m "long and not slow and not gpu and not network" $(addprefix --ignore=,$(LEAVE_OUT))

test-slow: setup
	$(PYTEST) -m slow --timeout 3000

# Takes each defence away in turn; a named test has to notice. Some of them: make mutants ONLY="csp-of-json drain-delay"
mutants: setup
	$(BIN)/python -m tests.mutants $(ONLY)

# Deployments for real: a Docker engine of the tests' own, pods in network namespaces behind HAProxy. Root and Debian's
# packages; else skipped, with the reason.
test-deploy: setup
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    && ! (command -v dockerd && command -v haproxy && command -v bwrap) >/dev/null; then \
	  (apt-get update -qq && apt-get install -y -qq --no-install-recommends \
	    docker.io runc mmdebstrap prometheus haproxy bubblewrap iproute2) >/dev/null; fi
	$(BIN)/pytest -m slow -s --timeout 3000 tests/deploy

# Coverage-guided, one target after the other; what falls is kept under tests/fuzz/regressions/. Linux and macOS.
SECONDS_EACH ?= 600
TARGETS ?=
fuzz: setup
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz.campaign $(TARGETS) --seconds $(SECONDS_EACH)

# Pins what the container installs, with the hashes of PyPI.
lock: setup
	$(BIN)/pip install -qq --disable-pip-version-check uv==0.13.9
	$(BIN)/python tests/deploy/lock.py $(BIN)/uv

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Offline; a broken link or anchor is an error.
docs: setup
	$(BIN)/python -m docs.builder build/docs

# What only a CUDA device can show, in nine minutes: the tests marked gpu, then training, then serving. CIFAR10 is a
# folder of train/ and test/, ONNX an exported file. A part that fails does not keep the next one from running.
gpu: setup
	-timeout 90 $(BIN)/pytest -m gpu --timeout 80 tests
	-timeout 300 $(BIN)/python benchmarks/gpu_cifar10.py $(CIFAR10) --minutes 4.5
	-timeout 140 $(BIN)/python benchmarks/gpu_serve.py $(ONNX) --minutes 2

bench: setup
	@echo 'Each script under benchmarks/ states its command and what it needs in its first lines.'
	@ls benchmarks/*.py
