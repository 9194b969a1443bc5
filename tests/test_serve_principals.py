# SPDX-License-Identifier: Apache-2.0
"""What one principal may take: one below each limit, at it, one above."""

import contextlib
import math
import random
from functools import partial

import pytest
from calling import Clock
from foveate.serve import auth
from foveate.serve.fault import KINDS, Fault
from foveate.serve.limits import Limits
from foveate.serve.principals import KINDS as LIMITED
from foveate.serve.principals import KNOWN, Principals


def allowed(principals, count, name="ann"):
    """How many of so many requests, one after the other, are let in, and the last one's Fault."""
    found, fault = 0, None
    for _ in range(count):
        try:
            with principals.request(name):
                found += 1
        except Fault as error:
            fault = error
    return found, fault


# ---- literals ----------------------------------------------------------------------------------------------


def test_a_rate_by_eye():
    """Two a second, three at once: three go, then one each half second."""
    clock = Clock()
    principals = Principals(Limits(principal_rate=2, principal_burst=3), clock)
    assert allowed(principals, 2) == (2, None)
    assert allowed(principals, 1) == (1, None)
    count, fault = allowed(principals, 1)
    assert (count, fault.code, fault.retry_s) == (0, "principal_rate", 0.5)
    assert fault.text == "too many requests of one client: at most 2 a second"
    assert allowed(principals, 3, "bob") == (3, None)
    clock.now += 0.499
    assert allowed(principals, 1)[1].retry_s == pytest.approx(0.001)
    clock.now += 0.001
    assert allowed(principals, 2)[0] == 1
    clock.now += 60
    assert allowed(principals, 9)[0] == 3


def test_no_limit_and_a_burst_of_one_second():
    assert allowed(Principals(Limits(), Clock()), 5000)[0] == 5000
    assert allowed(Principals(Limits(principal_rate=7), Clock()), 9)[0] == 7
    slow, clock = Principals(Limits(principal_rate=0.25), clock := Clock()), clock
    assert allowed(slow, 2)[0] == 1 and allowed(slow, 1)[1].retry_s == 4
    clock.now += 4
    assert allowed(slow, 2)[0] == 1


@pytest.mark.parametrize("kind,hold", [("in_flight", Principals.request), ("streams", Principals.stream),
                                       ("pixels", partial(Principals.pixels, price=1))])
def test_what_is_held_at_once(kind, hold):
    principals = Principals(Limits(**{f"principal_{kind}": 3}), Clock())
    told = []
    principals.refused.append(told.append)
    with contextlib.ExitStack() as held:
        for _ in range(2):
            held.enter_context(hold(principals, "ann"))
        with hold(principals, "ann"):
            with pytest.raises(Fault) as found, hold(principals, "ann"):
                pass
            with hold(principals, "bob"):
                pass
        assert (found.value.code, found.value.status, found.value.grpc, found.value.retry_s) == (
            f"principal_{kind}", 429, 8, 1)
        assert told == [kind]
        with contextlib.suppress(ZeroDivisionError), hold(principals, "ann"):
            raise ZeroDivisionError
        with hold(principals, "ann"):
            pass


def test_pixels_alone_and_together():
    principals = Principals(Limits(principal_pixels=100), Clock())
    with principals.pixels("ann", 1000):
        with pytest.raises(Fault), principals.pixels("ann", 1):
            pass
    with principals.pixels("ann", 60):
        for price, good in ((39, True), (40, True), (41, False)):
            with contextlib.nullcontext() if good else pytest.raises(Fault):
                with principals.pixels("ann", price):
                    pass


# ---- facts -------------------------------------------------------------------------------------------------


def test_no_second_has_more_than_it_should_and_what_is_told_is_enough():
    random_ = random.Random(6)
    for _ in range(40):
        rate, burst = random_.choice([0.3, 1, 3, 7.7, 100, 1e4]), random_.choice([1, 2, 5, 50])
        clock = Clock(random_.uniform(0, 1e7))
        principals, times = Principals(Limits(principal_rate=rate, principal_burst=burst), clock), []
        for _ in range(300):
            clock.now += random_.choice([0, 0, 0, 0.3 / rate, 1 / rate, 7 / rate])
            count, fault = allowed(principals, 1)
            if count:
                times.append(clock.now)
            else:       # after the time that it was told of, and not before it
                now = clock.now
                assert 0 < fault.retry_s <= burst / rate + 1e-6
                clock.now = now + fault.retry_s - min(1e-3, 0.5 / rate)
                assert fault.retry_s <= 2e-3 or allowed(principals, 1)[0] == 0
                clock.now = now + fault.retry_s
                assert allowed(principals, 1)[0] == 1
                times.append(clock.now)
        for first in range(len(times)):
            for last in range(first, min(first + 3 * burst, len(times))):
                assert last - first + 1 <= burst + rate * (times[last] - times[first]) + 1e-2


def test_principals_are_forgotten():
    """However many names come, those at rest take no memory; one that is owed a wait does not lose it."""
    clock = Clock()
    principals = Principals(Limits(principal_rate=1), clock)
    with principals.request("held"):
        for number in range(5 * KNOWN):
            clock.now += 0.01
            assert allowed(principals, 1, f"name {number}")[0] == 1
        assert allowed(principals, 1, "held")[0] == 1 and len(principals._uses) <= KNOWN + 200
        last = f"name {5 * KNOWN - 1}"
        assert allowed(principals, 1, last)[0] == 0


def test_whose_a_certificate_is():
    assert auth.subject(["ann", "other"], b"der") == "ann"
    for nobody in ([], [""]):
        assert auth.subject(nobody, b"der") == auth.subject(nobody, b"der") != auth.subject(nobody, b"other")


def test_the_limits_have_a_fault_each():
    names = {f"principal_{kind}" for kind in LIMITED}
    assert names == {code for code in KINDS if code.startswith("principal_")}
    assert names | {"principal_burst"} == {name for name in Limits.__dataclass_fields__ if name.startswith("principal")}
    assert all(KINDS[name].status == 429 and KINDS[name].grpc == 8 and KINDS[name].retry_s for name in names)
    assert math.ceil(Fault("principal_rate", after=0.2, limit=1).retry_s) == 1
