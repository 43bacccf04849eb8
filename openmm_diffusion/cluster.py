"""Work in pieces on the workers of a Dask client: of this machine, or of all that a scheduler has.

What a piece is does not depend on the number of workers, and results come back in the order of the pieces: sums of
them are the same to the last digit whoever computed what, and in whatever order that was ready.  A piece whose worker
dies is computed again by another; a piece is all that is lost, for nothing that others need lies on one worker alone.
Dask is imported where it is asked for, and never without.
"""

import contextlib
import importlib
import logging
import pickle
import warnings
from collections import deque

log = logging.getLogger(__name__)

#: Seconds until a scheduler must have answered.
PATIENCE = 3.0
#: Pieces that are sent ahead for each thread of the workers, and at least: more would fill memory, fewer leave workers
#: idle while one piece takes longer than others.
AHEAD, AT_LEAST = 4, 8
#: malloc of a worker keeps 256 MB for its next piece, and asks the system for arrays above 32 MB alone, as it does by
#: itself.  Dask has it give back all but 64 kB each time: two thirds of the time are then spent to get and clear pages.
MEMORY = {"MALLOC_TRIM_THRESHOLD_": 2**28, "MALLOC_MMAP_THRESHOLD_": 2**25}
#: Workers on one machine at most, beyond which a number is a slip.
MOST = 4096


@contextlib.contextmanager
def connected(scheduler=None, workers=None):
    """A client of a scheduler, or of workers of this machine's own, which end with it; None where neither is asked for.

    Parameters
    ----------
    scheduler : str, optional
        Address of a Dask scheduler, "tcp://host:8786" (or "tls://..."), as `dask scheduler` or a cluster of
        dask-jobqueue tells it.  Pieces are pickled on their way: name schedulers of your own.
    workers : int, optional
        Processes on this machine, of one thread each.

    Yields
    ------
    distributed.Client or None

    Raises
    ------
    ValueError
        For a number that is none, and an address that is none.
    ConnectionError
        If no scheduler answers there.
    ModuleNotFoundError
        Without Dask.
    """
    if scheduler is not None and workers is not None:
        raise ValueError(
            f"scheduler is {scheduler} and workers {workers}: give one of them, for a scheduler has its own"
        )
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or not 0 < workers <= MOST):
        raise ValueError(f"workers is {workers!r}: give a number of processes, 1 to {MOST}")
    if scheduler is not None and not (isinstance(scheduler, str) and "://" in scheduler):
        raise ValueError(f"scheduler is {scheduler!r}: give an address such as tcp://host:8786")
    if scheduler is None and workers is None:
        yield None
        return
    distributed = _distributed()
    import dask

    with contextlib.ExitStack() as open_ones:
        open_ones.enter_context(_quiet())
        if scheduler is None:
            # Before a worker starts: malloc looks there once.
            environment = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in MEMORY.items()}
            with dask.config.set(environment):
                cluster = distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", protocol="tcp://",
                    silence_logs=logging.CRITICAL,
                )  # fmt: skip
            scheduler = open_ones.enter_context(cluster).scheduler_address
        try:
            client = distributed.Client(scheduler, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ConnectionError(
                f"scheduler is {scheduler}, and none answers there within {PATIENCE:g} s: look whether it runs and its "
                "port can be reached from here, or give --workers for processes on this machine"
            ) from error
        yield open_ones.enter_context(client)


@contextlib.contextmanager
def _quiet():
    """Dask tells nobody of its connections, nor twice of what we say in a sentence."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def checked(client):
    """What a caller gives as a client, if that is what it is, or None."""
    if client is not None and not all(hasattr(client, name) for name in ("submit", "scheduler_info", "cancel")):
        raise TypeError(f"client is {client!r}: give a distributed.Client, or leave it out")
    return client


def mapped(client, function, pieces):
    """Results of a function for each of some pieces, in their order.

    What a worker logs is logged here, and what it raises is raised here.

    Parameters
    ----------
    client : distributed.Client or None
        None: one piece after the other in this process.
    function : callable
        Of a module: workers import it.
    pieces : iterable of tuple
        Its arguments; they are made as they are needed.

    Yields
    ------
    what the function returns
    """
    if client is None:
        for piece in pieces:
            yield function(*piece)
        return
    waiting: deque = deque()
    try:
        ahead = _ahead(client)
        for piece in pieces:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sending large graph")  # frames are as large as they are
                waiting.append(client.submit(_called, pickle.dumps((function, piece)), pure=False))
            if len(waiting) >= ahead:
                yield _result(waiting.popleft())
                ahead = _ahead(client)
        while waiting:
            yield _result(waiting.popleft())
    finally:
        if waiting:  # an error or Ctrl-C: nobody wants them any more
            with contextlib.suppress(Exception):
                client.cancel(list(waiting), force=True)


def _ahead(client):
    """How many pieces are on their way at a time; waits where a scheduler has no worker yet."""
    threads = sum(client.nthreads().values())
    if not threads:
        log.info("waiting for workers of the scheduler %s", client.scheduler.address)
        client.wait_for_workers(1)
        threads = sum(client.nthreads().values())
    return max(AT_LEAST, AHEAD * threads)


def _called(asked):
    """In a worker: what a function returns of a piece, and what it had to say."""
    # Before OpenMM, as the face of the package has it: openmm-torch's plugins load only where torch's libraries are.
    importlib.import_module("torch")
    function, piece = pickle.loads(asked)
    told = _Told()
    logger = logging.getLogger("openmm_diffusion")
    logger.addHandler(told)
    try:
        return function(*piece), told.lines
    finally:
        logger.removeHandler(told)


class _Told(logging.Handler):
    """Keeps warnings as they would be told."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append((record.name, record.levelno, record.getMessage()))


def _result(future):
    """What a piece has come to, once it is there."""
    distributed = _distributed()
    try:
        value, lines = future.result()
    except distributed.KilledWorker as error:
        raise RuntimeError(
            "workers died again and again of one piece of the work, most likely for want of memory: give fewer workers "
            "on a machine, or machines with more memory"
        ) from error
    except (distributed.comm.core.CommClosedError, distributed.client.FutureCancelledError, TimeoutError) as error:
        raise ConnectionError(
            "the connection to the scheduler was lost before the work was done: start the scheduler again, and the work"
        ) from error
    finally:
        future.release()
    for name, level, line in lines:
        logging.getLogger(name).log(level, "%s", line)
    return value


def _distributed():
    """Dask's distributed; its workers do linear algebra by one thread each, unless they are told otherwise."""
    try:
        import distributed
        import distributed.comm.core
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"work on several workers needs {error.name}: pip install 'openmm_diffusion[dask]'"
        ) from error
    return distributed
