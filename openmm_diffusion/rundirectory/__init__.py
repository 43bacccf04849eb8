"""The directory of a run: how it is begun and resumed, and how its files are written whole."""

import contextlib
import errno
import logging
import os
import reprlib
import socket
from pathlib import Path

from .. import yamlfile
from .interruptions import Interrupted, Interruption, held  # noqa: F401 - part of what a run does

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

#: What a run was asked for, kept in its directory.
SETTINGS = "config.yaml"

HOLDS = "output {directory} holds a {what} already: resume it (--resume), or name another directory"
DIFFERS = (
    "{key} is {new}, but the {what} in {directory} was begun with {old}: resume it with the same settings "
    "(the duration may grow)"
)

GO_ON = "go on with --resume: what was saved before is whole"

#: Who is at work in a directory, written by the holder of its lock.
LOCK = ".lock"

#: Why a file cannot be written, by the number of the system's error.
OBSTACLES = {
    errno.ENOSPC: "there is no space left for it: free some space or inodes",
    errno.EDQUOT: "the quota of its disk is used up: free some of it",
    errno.EFBIG: "it would grow larger than a file may be here: raise that limit (ulimit -f)",
    errno.EROFS: "its file system can only be read: make it writable, or name a directory elsewhere",
    errno.EACCES: "nobody has leave to write it: give it, or name a directory elsewhere",
    errno.EPERM: "nobody has leave to write it: give it, or name a directory elsewhere",
    errno.EIO: "its disk fails: look after the disk, or name a directory elsewhere",
}


class RunDirectoryError(FileExistsError, ValueError):
    """A directory that holds another run than the one asked for, or that another process is at work in."""


def named(directory):
    """What a caller gives as the directory of a run, as a Path."""
    if not isinstance(directory, (str, os.PathLike)):
        raise TypeError(f"output is {reprlib.repr(directory)}: give the path of a directory")
    return Path(directory)


def made(directory):
    """A directory as a Path, made where it does not exist."""
    directory = named(directory)
    file = next((path for path in (directory, *directory.parents) if path.exists() and not path.is_dir()), None)
    if file is not None:
        raise FileExistsError(f"output is {directory}, but {file} is a file: name a directory")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextlib.contextmanager
def explained(path, then="give the command again"):
    """Let a disk that takes no more end in one sentence: which path, why, and what to do then."""
    try:
        yield
    except OSError as error:
        if error.errno not in OBSTACLES:  # a sentence of ours has no number
            raise
        raise OSError(f"{error.filename or path} cannot be written, {OBSTACLES[error.errno]}, and {then}") from error


@contextlib.contextmanager
def whole(path):
    """A file (binary) under a temporary name, which appears under its own name at the end, whole or not at all.

    What was under that name stays until then, and whoever is killed meanwhile leaves it.  It is on the disk when this
    ends: what is written later may depend on it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        settle(path.parent)
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # its reason is told already
            temporary.unlink(missing_ok=True)


def write_whole(path, content):
    """Write a file (str or bytes) that appears whole or not at all, whenever the process is killed."""
    with whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_table(path, table, **form):
    """Write a DataFrame as CSV, whole or not at all; `form` as `to_csv` takes it."""
    write_whole(path, table.to_csv(index=False, **form))


def settle(*paths):
    """Have files, or the names in a directory, on the disk and not in its cache alone; what does not exist is left."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError, PermissionError):  # Windows opens no directory
            number = os.open(path, os.O_RDONLY)
            try:
                os.fsync(number)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # cannot be asked of it
                    raise
            finally:
                os.close(number)


def check(
    directory, given, resume, started, *, what="run", may_differ=None, understood=None, holds=HOLDS, differs=DIFFERS
):
    """Refuse a directory that cannot be begun or gone on with; nothing is written.

    Parameters
    ----------
    directory : path
    given : dict
        What is asked for, as `begin` writes it.
    resume : bool
        Whether the caller asked to go on.
    started : bool
        Whether the directory holds a run that can be lost.
    what : str
        Kind of run, for the sentences.
    may_differ : callable, optional
        Called with key, new and old value: whether a resumed run may differ in it.
    understood : callable, optional
        Called with what the run in the directory was asked for, a dict: the same with all keys of today.
    holds, differs : str
        Sentences, with the names directory, what, key, new and old in braces.

    Raises
    ------
    RunDirectoryError
        A FileExistsError and a ValueError.
    """
    if not started:
        return
    if not resume:
        raise RunDirectoryError(holds.format(directory=directory, what=what))
    settings = Path(directory) / SETTINGS
    if not settings.exists():
        raise damaged(settings)
    begun = asked_for(directory) if understood is None else understood(asked_for(directory))
    for key, new in given.items():
        old = begun.get(key)
        if new != old and not (may_differ and may_differ(key, new, old)):
            if not settings.read_bytes().endswith(b"\n"):  # what was cut off may have been the same
                raise damaged(settings)
            raise RunDirectoryError(differs.format(directory=directory, what=what, key=key, new=new, old=old))


@contextlib.contextmanager
def occupied(directory):
    """Keep others out of the directory of a run, made where there is none, so that nothing that is read there changes.

    The lock is the kernel's, on an open file: it ends with the process, however that ends, and a resume after a crash
    is free.  On file systems that know no locks there is none.  What fails before a run has written anything, in its
    checks too, leaves nothing: the directory is as it was.

    Raises
    ------
    RunDirectoryError
        If another process, or another call in this one, is at work there.
    OSError
        Of one sentence, where no directory can be made.
    """
    directory = named(directory)
    new = [path for path in (directory, *directory.parents) if not path.exists()]
    with contextlib.ExitStack() as stack:
        stack.push(lambda kind, *_: _remove_empty(new) if kind else None)
        with explained(directory, GO_ON):
            stack.enter_context(_locked(made(directory) / LOCK))
        yield directory


@contextlib.contextmanager
def begun(directory, given):
    """Begin a run in a directory that is `occupied`, or go on with it: write what was asked for into it.

    A run that fails before it has written anything else leaves what was there before.

    Raises
    ------
    OSError
        Of one sentence, where the disk takes no more.
    """
    with explained(directory, GO_ON):
        settings = Path(directory) / SETTINGS
        before = settings.read_bytes() if settings.exists() else None
        for left in Path(directory).rglob(".*.tmp"):  # by a process that was killed
            left.unlink(missing_ok=True)
        try:
            write_whole(settings, yamlfile.text(given))
            yield directory
        except BaseException:
            _restore(settings, before)
            raise


def _restore(settings, before):
    """Leave no settings of a run of which there is nothing else, or those that were there."""
    with contextlib.suppress(OSError):
        if {path.name for path in settings.parent.iterdir()} <= {SETTINGS, LOCK}:
            settings.unlink(missing_ok=True) if before is None else write_whole(settings, before)


def _remove_empty(new):
    """Remove directories that were made, from the innermost, up to the first that holds something."""
    with contextlib.suppress(OSError):
        for path in new:
            path.rmdir()


@contextlib.contextmanager
def _locked(path):
    """Hold the lock of a file, which is there as long as it is held."""
    while True:
        with open(path, "a+") as file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                who = file.read().strip() or "another process"
                raise RunDirectoryError(
                    f"output {path.parent} is in use by {who}: wait for its end, or name another directory"
                ) from error
            except OSError as error:
                log.warning("%s cannot be locked (%s): let no other process write here", path.parent, error.strerror)
            try:
                ours = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                ours = False
            if not ours:
                continue  # the one before has just ended, and taken its file away
            try:
                file.truncate(0)
                with contextlib.suppress(OSError):  # a full disk: who holds it stays untold
                    os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows keeps a file that is open
                    path.unlink(missing_ok=True)
            return


def asked_for(directory):
    """What the run in a directory was asked for, a dict; empty where it does not say.

    Raises
    ------
    ValueError
        For a file that is damaged.
    """
    settings = Path(directory) / SETTINGS
    if not settings.exists():
        return {}
    try:
        found = yamlfile.read(settings)
    except ValueError as error:
        raise damaged(settings) from error
    if not isinstance(found, dict):
        raise damaged(settings)
    return found


def damaged(path, remedy=None):
    """A ValueError about a file of a run that cannot be read."""
    remedy = remedy or f"begin again in another directory than {Path(path).parent}"
    what = "damaged or empty" if Path(path).exists() else "missing"
    return ValueError(f"{path} is {what}: copy a whole one back, or {remedy}")
