"""How far long work has come: a line in the log now and then, with the time that is left."""

import logging
import time

log = logging.getLogger(__name__)

#: Seconds between lines; what takes less says nothing.
EVERY = 15.0


class Progress:
    """Counts what is done of a known total.

    Parameters
    ----------
    what : str
        What lines begin with.
    total : float
        Frames.
    """

    def __init__(self, what, total):
        self.what, self.total = what, total
        self.done, self.begun = 0, time.monotonic()
        self.told = self.begun

    def add(self, number):
        """So many more are done."""
        self.done += number
        now = time.monotonic()
        if now - self.told >= EVERY and self.done < self.total:
            self.told = now
            left = (now - self.begun) * (self.total - self.done) / self.done
            log.info(
                "%s: %.0f %% of %.0f frames, %s left",
                self.what,
                100 * self.done / self.total,
                self.total,
                f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min",
            )
