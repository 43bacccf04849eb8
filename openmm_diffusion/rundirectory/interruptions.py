"""Ctrl-C and SIGTERM: how a command ends by them soon, and what waits for the end of what must not be torn."""

import contextlib
import signal
import sys
import threading

#: Commands that go on with what there is.
RESUMABLE = ("train", "simulate", "sample", "refine", "generate")


class Interrupted(RuntimeError):
    """A run in a thread that was asked to end, and did so after its last whole step."""


@contextlib.contextmanager
def held():
    """Let Ctrl-C and SIGTERM wait until the end of what must not be torn, a step or a file.

    Yields a function that tells whether one waits.  In threads, which signals do not reach, none does.
    """
    came = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Who ignores a signal goes on to.
    before = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


class Interruption:
    """Ctrl-C and SIGTERM end a command, with the exit status that shells expect: 130 and 143.

    Either is a KeyboardInterrupt where it comes, but for where OpenMM or openmm-torch has called Python: the one turns
    what is raised there into an error of its own without a word ("<NULL>"), which would pass for one, and the other
    ends the process.  It comes as these return then, and where that lasts, as compiling does, after a moment.  It comes
    again until it is told to be over.

    Attributes
    ----------
    number : int or None
        Of the first signal that came.
    """

    #: Seconds that a call which should not be torn has to end, and until what was swallowed on its way comes again.
    PATIENCE = 0.5

    def __init__(self):
        self.number = None
        self.waited = self.ended = False

    @property
    def status(self):
        """Exit status of the process."""
        return 128 + (self.number or signal.SIGINT)

    def install(self):
        """Take the signals over; one that is ignored, as in the background, stays ignored."""
        self.waited = self.ended = False
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        """What an interruption breaks on its way is nobody's mistake: it ends the process instead."""
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, Exception) and self.number is not None):
            raise self.told() from None

    def told(self):
        """Say on standard error that the interruption has come through, and how to go on; the end of the process."""
        self.over()
        command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
        then = "the same command with --resume goes on" if command in RESUMABLE else "nothing goes on, give it again"
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""  # a bar of progress stands there
        sys.stderr.write(f"{clear}interrupted: {then}\n")
        return SystemExit(self.status)

    def release(self):
        """Give the signals back: what is left to do is nothing that an interruption could tear."""
        self.ended = True
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) == self:
                signal.signal(number, signal.SIG_DFL)

    def over(self):
        """The interruption has come through: neither it nor another comes any more."""
        self.ended = True
        # CPython notes an interruption that passes an exec() of a library, and ends by SIGINT for it in place of the
        # status; the next exec() takes the note away.
        exec("")
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)

    def __call__(self, number, frame):
        if self.ended:
            return
        self.number = self.number or number
        if hasattr(signal, "setitimer"):
            # Libraries swallow what is raised within an import or a finalizer of theirs.
            signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(self.number))
            signal.setitimer(signal.ITIMER_REAL, self.PATIENCE)
        caller = None if self.waited else _caller(frame)
        if caller is None:
            raise KeyboardInterrupt
        self.waited = True
        caller.f_trace = _raised
        sys.settrace(lambda *_: None)  # without a tracer of all frames, none of one is asked


def _raised(frame, event, argument):
    """Tracer of a frame: an interruption at its next line."""
    frame.f_trace = None
    sys.settrace(None)
    raise KeyboardInterrupt


def _caller(frame):
    """The frame that has called OpenMM or openmm-torch, which has called Python here; None where neither has."""
    modules = (sys.modules.get(name) for name in ("openmm.openmm", "openmmtorch"))
    wrappers, caller = {module.__file__ for module in modules if hasattr(module, "__file__")}, None
    while frame and frame.f_back:
        frame = frame.f_back
        if frame.f_code.co_filename in wrappers:
            caller = frame.f_back
    return caller
