# SPDX-License-Identifier: Apache-2.0
# The front doors. Each target does what it needs first; `make help` lists them.
#
#   JOBS                how many compilations at a time (default: the number of cores)
#   ESPALIER_PIP_ARGS   more arguments for pip, which installs torch where there is none, e.g.
#                       --extra-index-url https://download.pytorch.org/whl/cpu
#   CI                  where it is set, warnings are errors
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

JOBS ?= $(shell nproc)
export ESPALIER_PIP_ARGS

benchmarks = bench_model bench_kernels bench_rank
configure = cmake --preset release $(if $(CI),-DESPALIER_WERROR=ON)

.PHONY: help setup build demo test check lint parity bench clean

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: ## Debian packages, and a LibTorch where there is none
	@tools/setup.sh

build: setup ## bin/espalier and bin/espalier-engine
	@$(if $(CI),,test -f build/release/build.ninja ||) $(configure)
	@cmake --build --preset release -j $(JOBS) --target espalier espalier-engine
	@mkdir -p bin
	@ln -sfn ../build/release/bin/espalier ../build/release/bin/espalier-engine bin/

demo: build ## the paper in small: probe, rank, prune, heal, measure, report
	@tools/demo.sh

check: ## the form of the sources and the include table
	@tools/check_style.sh
	@tools/check_includes.py --self-test

test: setup check build ## everything that is checked, the quick things first
	@cmake --build --preset release -j $(JOBS) --target all $(benchmarks)
	@ctest --preset release
	@grep -B 1 '^\[  SKIPPED \] .* ms)$$' build/release/Testing/Temporary/LastTest.log || true
	@tools/check_docs.py
	@cmake --preset asan
	@cmake --build --preset asan -j $(JOBS)
	@ctest --preset asan

lint: build ## clang-tidy-16 over the half without LibTorch
	@run-clang-tidy-16 -quiet -j $(JOBS) -p build/release -extra-arg=-Wno-unknown-warning-option \
	  '/espalier/(base|records|text|image|checkpoint|data|report|synth|prune)/'

# The reference implementation, in an environment of its own. Of torchvision only the Python half is
# used; its wheel wants the CUDA build of torch, so it comes without dependencies.
.venv-parity/.ready: tests/reference/requirements.txt | setup
	@python3 -m venv .venv-parity
	@.venv-parity/bin/python -m pip install --quiet $(ESPALIER_PIP_ARGS) -r $<
	@.venv-parity/bin/python -m pip install --quiet $(ESPALIER_PIP_ARGS) --no-deps torchvision==0.28.0
	@touch $@

parity: build .venv-parity/.ready ## the reference, live on a 2B shape, against us
	@.venv-parity/bin/python tests/reference/parity.py --espalier bin/espalier

bench: build .venv-parity/.ready ## speed and memory, with the ratio to the peer
	@cmake --build --preset release -j $(JOBS) --target $(benchmarks)
	@.venv-parity/bin/python benchmarks/run.py
	@.venv-parity/bin/python benchmarks/probe.py
	@.venv-parity/bin/python benchmarks/finetune.py
	@python3 benchmarks/export.py
	@build/release/bin/bench_rank

clean: ## removes what was built; the environments stay
	@rm -rf build bin .demo
