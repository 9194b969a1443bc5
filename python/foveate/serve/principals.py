# SPDX-License-Identifier: Apache-2.0
"""What one of those who ask may take, whatever wire they come by, so that there is something left for the others.

Requests a second are held by the generic cell rate algorithm (ITU-T I.371, 2004, annex A, virtual scheduling): of each
principal one time, when its next request is due if they come evenly; a burst may be ahead of it.
"""

import contextlib
import time
from dataclasses import dataclass

from .fault import Fault

KINDS = ("rate", "in_flight", "pixels", "streams")  # a limit and a fault of each is called principal_ and this
KNOWN = 1024        # principals; where there are more, those who ask for nothing now are forgotten
ROUNDED_S = 1e-6    # sums of times are not exact
MEMORY = "memory"   # the principal of all who share memory: they are one user


@dataclass(slots=True)
class Use:
    """Of one principal: what it holds, and when its next request is due."""

    due: float = float("-inf")
    in_flight: int = 0
    pixels: int = 0
    streams: int = 0

    def idle(self, now):
        return self.due <= now and not self.in_flight + self.pixels + self.streams


class Principals:
    """Those who ask, by name. Everything raises Fault where it would be more than a limit of `limits`; 0 is none."""

    def __init__(self, limits, clock=time.monotonic):
        self._limits, self._clock, self._uses = limits, clock, {}
        self.refused = []       # called with one of KINDS when a request is refused

    @contextlib.contextmanager
    def request(self, name):
        """A request, from before its body is read to its answer. One that is refused does not count."""
        with self._held(name, "in_flight", 1):
            self._pace(self._uses[name])
            yield

    def pixels(self, name, price):
        """Pixels of a request while it is worked on, and while it waits for that. Alone it may cost more."""
        return self._held(name, "pixels", price)

    def stream(self, name):
        """A stream, as long as it is open."""
        return self._held(name, "streams", 1)

    @contextlib.contextmanager
    def _held(self, name, kind, amount):
        use, most = self._use(name), getattr(self._limits, f"principal_{kind}")
        held = getattr(use, kind)
        if most and held and held + amount > most:
            raise self._refusal(kind, most)
        setattr(use, kind, held + amount)
        try:
            yield
        finally:
            setattr(use, kind, getattr(use, kind) - amount)

    def _pace(self, use):
        rate = self._limits.principal_rate
        if not rate:
            return
        now, burst = self._clock(), self._limits.principal_burst or max(1.0, rate)
        wait_s = use.due - (burst - 1) / rate - now
        if wait_s > ROUNDED_S:
            raise self._refusal("rate", rate, wait_s)
        use.due = max(use.due, now) + 1 / rate

    def _refusal(self, kind, most, wait_s=0.0):
        for call in self.refused:
            call(kind)
        return Fault(f"principal_{kind}", after=wait_s, limit=f"{most:g}" if kind == "rate" else most)

    def _use(self, name):
        use = self._uses.get(name)
        if use is None:
            if len(self._uses) >= KNOWN:
                now = self._clock()
                self._uses = {one: known for one, known in self._uses.items() if not known.idle(now)}
            use = self._uses[name] = Use()
        return use
