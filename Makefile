# SPDX-License-Identifier: Apache-2.0
# Everything here works in a fresh clone: the first call sets up, later ones look and go on.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PY := .venv/bin/python
CTEST := ctest --output-on-failure --no-tests=error -j $(shell nproc) --timeout
# files of tests side by side: most of their time one core waits for a driver's compiler
PYTEST := $(PY) -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
LANES := spirv cpp python validation asan tsan
# `make` inside `make test` has been set up already
READY := $(if $(FOVEATE_READY),:,tools/setup.sh)

.PHONY: help setup demo test test-long bench train-demo experiments gpu-check lint format clean $(addprefix test-,$(LANES))

help:                ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 18

setup:               ## system packages, .venv, build; quick when nothing changed
	@tools/setup.sh test

demo:                ## bundled pictures, several ways at one budget -> out/report.html
	@$(READY) demo
	@$(PY) -m foveate.demo

test:                ## every lane below, one closing line each
	@$(READY) test
	@export FOVEATE_READY=1; report=""; failed=0; \
	for lane in $(LANES); do \
	    echo "== test-$$lane"; start=$$SECONDS; state=ok; \
	    $(MAKE) --no-print-directory test-$$lane || { state=FAILED; failed=1; }; \
	    report+=$$(printf '%-8s test-%-12s %4d s' $$state $$lane $$((SECONDS - start)))$$'\n'; \
	done; \
	echo "== lanes"; printf '%s' "$$report"; exit $$failed

test-spirv:          ## spirv-val over every shader that was built
	@$(READY) test
	@$(PY) tools/spirv.py build/dev

test-cpp:            ## C++ tests on lavapipe, then on SwiftShader (slow to make an engine: fewer faults)
	@$(READY) test
	@. .cache/env.sh; step=25; for icd in "$$FOVEATE_ICD_LAVAPIPE" "$$FOVEATE_ICD_SWIFTSHADER"; do \
	    export VK_DRIVER_FILES="$$icd" VK_ICD_FILENAMES="$$icd" VULKAN_FAULT_STEP=$$step; \
	    $(CTEST) 300 --test-dir build/dev; step=100; done

test-python:         ## pytest: cpu, Vulkan on lavapipe and SwiftShader, OpenGL on llvmpipe, CUDA on the host
	@$(READY) test
	@. .cache/env.sh; $(PYTEST) -m "not long" $(ARGS)

test-validation:     ## pytest under the Khronos validation layer, synchronisation included
	@$(READY) test
	@. .cache/env.sh; . tools/validation.sh; \
	export VK_DRIVER_FILES="$$FOVEATE_ICD_LAVAPIPE" VK_ICD_FILENAMES="$$FOVEATE_ICD_LAVAPIPE"; \
	$(CTEST) 300 --test-dir build/dev; \
	FOVEATE_TEST_BACKENDS=lavapipe $(PYTEST) -m "not long" -k lavapipe $(ARGS)

test-asan:           ## C++ and binding tests under the address and undefined-behaviour sanitizers
	@$(READY) test
	@tools/sanitize.sh asan address,undefined
	@tools/sanitize_python.sh tests/test_image.py tests/test_tensor.py tests/test_error.py

test-tsan:           ## C++ tests under the thread sanitizer
	@$(READY) test
	@tools/sanitize.sh tsan thread

# SwiftShader keeps a thread-local key of every device that was, and a process has 1024: not every call fails there
test-long:           ## everything, the slow tests too
	@$(READY) test
	@. .cache/env.sh; export FOVEATE_LONG=1 FOVEATE_STRESS_CALLS=2000 FOVEATE_STRESS_VULKAN=1; \
	step=1; for icd in "$$FOVEATE_ICD_LAVAPIPE" "$$FOVEATE_ICD_SWIFTSHADER"; do \
	    export VK_DRIVER_FILES="$$icd" VK_ICD_FILENAMES="$$icd" VULKAN_FAULT_STEP=$$step; \
	    $(CTEST) 3600 --test-dir build/dev; step=3; done; \
	unset VK_DRIVER_FILES VK_ICD_FILENAMES; \
	( . tools/validation.sh; export FOVEATE_STRESS_CALLS=2000; \
	    export VK_DRIVER_FILES="$$FOVEATE_ICD_LAVAPIPE" VK_ICD_FILENAMES="$$FOVEATE_ICD_LAVAPIPE"; \
	    $(CTEST) 3600 --test-dir build/dev -R stress ); \
	$(PY) -m pytest -q $(ARGS)

bench:               ## speed against what a user would use instead; time against size; quality of every layout
	@$(READY) test
	@. .cache/env.sh; export VK_DRIVER_FILES="$$FOVEATE_ICD_LAVAPIPE:$$FOVEATE_ICD_SWIFTSHADER"; \
	export VK_ICD_FILENAMES="$$VK_DRIVER_FILES"; $(PY) -m foveate bench --out docs/measured $(ARGS)
	@$(PY) -m foveate bench scaling --out docs/measured
	@$(PY) -m foveate bench quality --out docs/measured >/dev/null
	@$(PY) -m foveate bench model --out docs/measured
	@$(PY) -m foveate bench select --out docs/measured
	@$(PY) -m foveate bench batch --ray --out docs/measured
	@$(PY) tests/real_triton.py $(PY) -m foveate bench serve --out docs/measured
	@$(PY) tools/measured.py

train-demo:          ## trains the small model that the demo asks: 27 minutes, two cores
	@$(READY) test
	@$(PY) -m foveate.model.small.train --out python/foveate/model/small $(ARGS)

experiments:         ## ways to spend tokens, tried with the small model -> docs/measured
	@$(READY) test
	@$(PY) -m foveate.model.small.experiments --out docs/measured $(ARGS)

gpu-check:           ## on a machine with a GPU, no network, < 8 minutes: parity, hand-offs, speed -> docs/measured
	@tools/gpu_check.sh $(ARGS)

lint:                ## ruff and the rules of the tree
	@$(READY) test
	@$(PY) -m ruff check .
	@$(PY) -m pytest -q tests/test_rooms.py

clean:               ## build outputs; .venv and .cache stay
	@rm -rf build out .pytest_cache .ruff_cache .hypothesis
	@rm -f .venv/stamps/build-*
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
