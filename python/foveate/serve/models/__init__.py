# SPDX-License-Identifier: Apache-2.0
"""What is served: each model is a module with its ports and parameters, `plan` and `run`.

`plan(request, limits)` checks a request and says what there is to do, before any pixel is decoded. `run(engine, works)`
does it for works of one key, and returns the tensors of each by name.
"""

from . import foveate, patchify, shading_rate, warp

MODELS = {"foveate": foveate, "patchify": patchify, "shading_rate": shading_rate, "warp": warp}
VERSION = "1"
