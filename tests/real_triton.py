# SPDX-License-Identifier: Apache-2.0
"""A real Triton as a child: NVIDIA's wheel of it, which wants an older NumPy, and so has an environment of its own.

`python tests/real_triton.py COMMAND...` runs a command with `--triton ADDRESS` behind it.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import foveate
from child import TESTS, ended
from foveate.serve import models

TREE = TESTS.parent
FOLDER = TREE / ".cache" / "triton"
PORTS = {what: [(port.name, port.datatypes[0], port.dims, port.optional) for port in ports]
         for what, ports in (("inputs", models.foveate.INPUTS), ("outputs", models.foveate.OUTPUTS))}
WANTED = ("nvidia-pytriton==0.7.0", "simplejpeg>=1.8", "pillow>=11")


def python():
    """The environment's Python: the first call makes it, which takes a network and 0.4 GB."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    found, stamp = FOLDER / "env/bin/python", FOLDER / "stamp"
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        key = "\n".join([*WANTED, sys.version])
        if stamp.is_file() and stamp.read_text() == key and found.exists():
            return found
        shutil.rmtree(FOLDER / "env", ignore_errors=True)
        for words in ([sys.executable, "-m", "venv", FOLDER / "env"],
                      [found, "-m", "pip", "install", "-q", "--retries", "2", *WANTED]):
            done = subprocess.run(words, capture_output=True, text=True)
            why = ([line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr])[0]
            assert done.returncode == 0, f"Triton: {FOLDER.relative_to(TREE)}: {why[:300]}. It takes a network."
        stamp.write_text(key)
    return found


def package(folder):
    """The folder, with foveate in it as it is here: an editable install has its two halves in two places."""
    there = Path(folder, "foveate")
    there.mkdir()
    for path in (*Path(foveate.__file__).parent.iterdir(), Path(foveate._core.__file__)):
        if not (there / path.name).is_symlink():
            (there / path.name).symlink_to(path)
    return folder


def block():
    """The source of docs/guide/serve_triton.md."""
    text = (TREE / "docs/guide/serve_triton.md").read_text()
    return re.search(r"<!-- needs: triton -->\n```python\n(.+?)^```$", text, re.M | re.S)[1]


@contextlib.contextmanager
def running():
    """Addresses, of HTTP and of metrics, of a Triton with the models of triton_child.py."""
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    numbers = [str(one.getsockname()[1]) for one in free]
    for one in free:
        one.close()
    there = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FOVEATE", "VK_"))}
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as home:
        there |= {"LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"), "PYTHONPATH": package(home), "HOME": home}
        child = subprocess.Popen([python(), TESTS / "triton_child.py", json.dumps(PORTS), block(), *numbers],
                                 stdout=subprocess.PIPE, stderr=log, env=there)
        try:
            said = b""
            for line in child.stdout:
                said += line
                if line == b"READY\n":
                    break
            else:
                log.seek(0)
                raise AssertionError(f"Triton did not start: {(said + log.read())[-3000:].decode()}")
            yield f"127.0.0.1:{numbers[0]}", f"127.0.0.1:{numbers[2]}"
        finally:
            child.send_signal(signal.SIGTERM)
            ended(child, 30)
            child.stdout.close()


if __name__ == "__main__":
    with running() as (http, _):
        sys.exit(subprocess.run([*sys.argv[1:], "--triton", http]).returncode)
