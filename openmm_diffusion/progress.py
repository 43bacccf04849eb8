"""How far long work has come: one bar on a terminal, and without one a line now and then."""

import contextlib
import logging
import shutil
import sys
import time

log = logging.getLogger(__name__)

#: Seconds between lines where there is no terminal, between two drawings of the bar, and before the first of either.
EVERY, REDRAWN, FIRST = 15.0, 0.2, 0.5
#: Cells of the bar.
CELLS = 24
#: What ends a line that is drawn over another.
CLEAR = "\x1b[K"


class Progress:
    """Counts what is done of a known total, and says so: how much, how fast, how long it will last.

    It is a context manager, and what was drawn on the terminal is gone in the end.  What takes less time than a
    line needs says nothing.

    Parameters
    ----------
    what : str
        What lines begin with.
    total : float or None
        None where nobody knows it.
    unit : str
        Of the total, such as "frames"; of "ps" the speed is told in ns/day.
    shown : bool, optional
        None: where the log says what it is informed of.
    done : float
        Where the work goes on.
    """

    def __init__(self, what, total, unit="frames", shown=None, done=0):
        self.what, self.total, self.unit = what, total, unit
        self.shown = log.isEnabledFor(logging.INFO) if shown is None else shown
        self.done = self.first = done
        self.begun = time.monotonic()
        self.told = self.now = self.begun
        self.drawn = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def add(self, number=1, more=""):
        """So many more are done; `more` is told behind."""
        self.at(self.done + number, more)

    def at(self, done, more=""):
        """So many are done."""
        self.done = done
        self.now, every = time.monotonic(), REDRAWN if self._terminal() else EVERY
        if not self.shown or self.now - self.told < every or (self.total is not None and self.done >= self.total):
            return
        if self._terminal() and self.now - self.begun < FIRST:
            return
        self.told = self.now
        self._tell(self.line(more))

    def line(self, more=""):
        """How far it has come, in one line."""
        if self.total is None:
            return f"{self.what}: {', '.join(part for part in (f'{self.done:g} {self.unit}', more) if part)}"
        parts = [f"{100 * self.done / self.total:.0f} % of {_rounded(self.total)} {self.unit}"]
        parts += [part for part in (self._speed(), more, self._left()) if part]
        return f"{self.what}: {', '.join(parts)}"

    def close(self):
        """Take the bar away."""
        if self.drawn:
            self.drawn = False
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write("\r" + CLEAR)
                sys.stderr.flush()

    def _rate(self):
        spent = self.now - self.begun
        return (self.done - self.first) / spent if spent > 0 else 0.0

    def _speed(self):
        rate = self._rate()
        return f"{significant(86.4 * rate)} ns/day" if self.unit == "ps" and rate else ""

    def _left(self):
        rate = self._rate()
        return f"{duration((self.total - self.done) / rate)} left" if rate else ""

    def _terminal(self):
        return sys.stderr is not None and sys.stderr.isatty()

    def _tell(self, line):
        if not self._terminal():
            # A log that nobody listens to is no place for what somebody has asked for.
            if log.isEnabledFor(logging.INFO):
                log.info("%s", line)
            else:
                sys.stderr.write(line + "\n")
            return
        bar = ""
        if self.total is not None:
            full = min(CELLS, int(CELLS * self.done / self.total))
            bar = "[" + full * "#" + (CELLS - full) * "." + "] "
        # A line longer than the terminal would not be drawn over but leave its beginning behind.
        over = len(bar + line) - shutil.get_terminal_size().columns + 1
        if over > 0:
            line = "..." + line[over + 3 :]
        self.drawn = True
        sys.stderr.write("\r" + bar + line + CLEAR)
        sys.stderr.flush()


def significant(number, digits=2):
    """A number to so many digits that mean something, without an exponent."""
    if number == 0:
        return "0"
    text = f"{number:.{digits}g}"
    return f"{float(text):.0f}" if "e" in text else text


def duration(seconds):
    """A time in words, to what a guess can mean."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36_000 else f"{seconds / 3600:.0f} h"


def _rounded(total):
    return f"{total:g}" if total < 1e5 else f"{total:,.0f}"
