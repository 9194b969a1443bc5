# SPDX-License-Identifier: Apache-2.0
"""What each stage means, in NumPy: slow, plain, and equal to every backend by bytes.

float32 steps are written out in the order that the definitions give; NumPy never fuses them. Integers are
Python's or int64, so nothing here can overflow.
"""
