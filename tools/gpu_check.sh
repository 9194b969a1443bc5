#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Finds a Python with NumPy and a build of foveate that it loads, builds one where there is none, and runs
# foveate.gpu_check. No network is used. PYTHON names the one to take. Usage: tools/gpu_check.sh [options of gpu_check]
set -eu
tree=$(cd "$(dirname "$0")/.." && pwd)
site="$tree/build/gpu-check/site"

stop() {
    echo "gpu-check: $*" >&2
    exit 2
}

python="" tried=""
for found in ${PYTHON:-"$tree/.venv/bin/python" python3 python3.13 python3.12 python3.11}; do
    "$found" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    tried="$tried $found"
    if "$found" -c 'import numpy' 2>/dev/null; then
        python=$(command -v "$found")
        break
    fi
done
[ -n "$tried" ] || stop "Python: got none that works, expected 3.11 or newer. Set PYTHON."
[ -n "$python" ] || stop "NumPy: got none in$tried, expected 1.26 or newer. Run: python3 -m pip install numpy"

loads() {
    PYTHONPATH="$1" "$python" -c 'import foveate' 2>/dev/null
}

build() {
    lacking=""
    command -v cmake >/dev/null || lacking="$lacking cmake"
    command -v "${CXX:-c++}" >/dev/null || lacking="$lacking c++"
    "$python" -c 'import nanobind' 2>/dev/null || lacking="$lacking nanobind"
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || lacking="$lacking Python.h"
    [ -z "$lacking" ] || stop "foveate: got no build that $python loads, and no$lacking to make one, expected one." \
        "Carry python/foveate/_core*.so, or a wheel in dist/, made for this Python."
    command -v glslangValidator >/dev/null ||
        echo "gpu-check: no glslangValidator: the Vulkan backend is left out of what is built here"
    echo "gpu-check: building foveate"
    log="$tree/build/gpu-check/build.log"
    mkdir -p "$site/foveate"
    if ! { cmake -S "$tree" -B "$tree/build/gpu-check" -DCMAKE_BUILD_TYPE=Release "-DPython_EXECUTABLE=$python" &&
           cmake --build "$tree/build/gpu-check" --parallel --target _core; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        stop "foveate: got a build that failed, expected one that does not. See ${log#"$tree/"}"
    fi
    cp -R "$tree/python/foveate/." "$site/foveate/"
    cp "$tree"/build/gpu-check/_core*.so "$site/foveate/"
}

# The tree's own build, one that was installed, a wheel that was carried along, one made here.
if loads "$tree/python"; then
    path="$tree/python"
elif loads ""; then
    path=""
else
    wheel=$(ls -t "$tree"/dist/foveate-*.whl 2>/dev/null | head -n 1)
    if [ -n "$wheel" ]; then
        rm -rf "$site"
        mkdir -p "$site"
        "$python" -m zipfile -e "$wheel" "$site"
    fi
    [ -n "$wheel" ] && loads "$site" || build
    path="$site"
    loads "$path" || stop "foveate: got a build that $python does not load, expected one that it does."
fi
echo "gpu-check: $("$python" --version), foveate ${path:-as installed}"
cd "$tree"
PYTHONPATH="$path${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m foveate.gpu_check "$@"
