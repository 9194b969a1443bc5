#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Finds a Python and hands over to setup.py, which does the work. Usage: tools/setup.sh [demo|test|env]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV 2>/dev/null || true

for python in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" "$here/setup.py" "$@"
    fi
done

line="apt-get update && apt-get install -y --no-install-recommends python3 python3-venv python3-dev"
if [ -z "${FOVEATE_SETUP_AGAIN:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing python3 python3-venv python3-dev"
    if DEBIAN_FRONTEND=noninteractive sh -c "$line" </dev/null >/dev/null 2>&1; then
        FOVEATE_SETUP_AGAIN=1 exec "$0" "$@"
    fi
fi
echo "setup: Python: got none that works, expected 3.11 or newer. Run: $line" >&2
exit 1
