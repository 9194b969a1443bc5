# SPDX-License-Identifier: Apache-2.0
"""What foveate raises. Text: `<stage>: <what>: got <value>, expected <range>. <next step>`."""

import operator


class Error(Exception):
    """Base of everything foveate raises on purpose."""


class InputError(Error, ValueError):
    """Something outside the contract was passed in."""


class LimitError(Error, ValueError):
    """Inside the contract, but over a limit; `foveate.info()` lists them."""


class MemoryBudgetError(Error, MemoryError):
    """Over the engine's memory budget, or the device is out of memory."""


class DeviceError(Error, RuntimeError):
    """A driver call failed."""


class DeviceLostError(DeviceError):
    """The device is gone. A new Engine works."""


class WaitTimeoutError(Error, TimeoutError):
    """A bounded wait ran out."""


class ForkedEngineError(Error, RuntimeError):
    """An Engine was used in a child of fork(). Make a new one there."""


class UnsupportedError(Error, RuntimeError):
    """This backend, build or library cannot do it."""


def require(condition, what, got, expected, hint="", kind=InputError):
    """Raise `kind` unless the condition holds; `what` is "<stage>: <what>"."""
    if not condition:
        raise kind(f"{what}: got {got}, expected {expected}.{' ' + hint if hint else ''}")


def choice(what, value, table):
    """The entry of a table that a caller named."""
    try:
        return table[value]
    except (KeyError, TypeError):
        pass
    names = ", ".join(repr(name) for name in table)
    raise InputError(f"{what}: got {value!r}, expected one of {names}.")


def whole(what, value, low, high):
    """A whole number; the engine checks that it is not over its limit, as LimitError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    require(low <= number < 1 << 32, what, value if isinstance(value, int) else repr(value), f"{low}..{high}")
    return number


def real(what, value):
    """A float; the engine knows the range."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{what}: got {value!r}, expected a number.") from None
