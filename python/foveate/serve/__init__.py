# SPDX-License-Identifier: Apache-2.0
"""The service: the Open Inference Protocol v2 in front of an Engine. See docs/guide/serve.md."""
