#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The binding tests of Python against the module that tools/sanitize.sh asan has built.
# Usage: tools/sanitize_python.sh [PYTEST ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=build/asan
package=$folder/package/foveate
mkdir -p "$package"
ln -sfn "$PWD"/python/foveate/*.py "$PWD"/python/foveate/backends "$package"
ln -sf "$PWD/$folder"/_core*.so "$package"
# -S: the editable install of the ordinary build would win over the path
site=$(echo "$PWD"/.venv/lib/python*/site-packages)
export PYTHONPATH=$PWD/$folder/package:$site PYTHONMALLOC=malloc FOVEATE_TEST_BACKENDS=cpu
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 UBSAN_OPTIONS=print_stacktrace=1
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so) $(gcc -print-file-name=libstdc++.so)"
exec .venv/bin/python -S -m pytest -q -p no:cacheprovider "$@"
