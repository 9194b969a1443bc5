# SPDX-License-Identifier: Apache-2.0
"""For programs that talk to the service, or send what it gives on to others."""
