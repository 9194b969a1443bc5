# SPDX-License-Identifier: Apache-2.0
"""The oracle is asked once: the same cases go to every backend, and NumPy is slow."""

import collections
import functools
import hashlib
import pickle

ROOM = 256 << 20        # bytes of answers that a process keeps

_answers = collections.OrderedDict()


def kept(function):
    """The same function, whose answers are kept by the content of its arguments. Every caller gets its own copy."""

    @functools.wraps(function)
    def call(*args, **options):
        try:
            content = pickle.dumps((args, options), 5)
        except (AttributeError, TypeError, pickle.PicklingError):    # a function of the test's own
            return function(*args, **options)
        key = function.__module__, function.__qualname__, hashlib.blake2b(content).digest()
        if key not in _answers:
            _answers[key] = pickle.dumps(function(*args, **options), 5)
            while sum(map(len, _answers.values())) > ROOM and len(_answers) > 1:
                _answers.popitem(last=False)
        _answers.move_to_end(key)
        return pickle.loads(_answers[key])

    return call


def keep(*functions):
    """Each (module, names) is kept from now on."""
    for module, names in functions:
        for name in names.split():
            setattr(module, name, kept(getattr(module, name)))
