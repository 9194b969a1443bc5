# SPDX-License-Identifier: Apache-2.0
"""spirv-val over the modules as they are embedded in a build folder. No module at all is a failure, not a pass."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def modules(folder):
    """(name, SPIR-V bytes) of every shader header that glslangValidator wrote."""
    for header in sorted(Path(folder).glob("shaders/*.h")):
        words = re.findall(r"\b0x[0-9a-fA-F]{8}\b", header.read_text())
        yield header.stem, b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)


def main(folder):
    if not shutil.which("spirv-val"):
        sys.exit("spirv: got no spirv-val, expected it installed. Install spirv-tools.")
    count = 0
    for name, module in modules(folder):
        with tempfile.NamedTemporaryFile(suffix=".spv") as file:
            file.write(module)
            file.flush()
            done = subprocess.run(["spirv-val", "--target-env", "vulkan1.1", file.name], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"spirv: {name}: got {done.stderr.strip()}, expected a valid module.")
        count += 1
    if not count:
        sys.exit(f"spirv: got 0 modules in {folder}, expected one per shader. Build with Vulkan.")
    print(f"spirv: {count} modules valid")


if __name__ == "__main__":
    main(sys.argv[1])
