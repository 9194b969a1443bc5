# SPDX-License-Identifier: Apache-2.0
"""model: tokens into models as they are, without a fork of them and without training.

Each module is for one framework, and importing it imports that; this one imports nothing.
"""
