"""The directory of a run: how it is begun and resumed, and how its files are written whole."""

import contextlib
import logging
import os
import reprlib
import socket
from pathlib import Path

import yaml

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


#: Who is at work in a directory, written by the holder of its lock.
LOCK = ".lock"


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


def write_whole(path, content):
    """Write a file (str or bytes) that appears whole or not at all, whenever the process is killed."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
    begun = asked_for(directory) if understood is None else understood(asked_for(directory))
    for key, new in given.items():
        old = begun.get(key)
        if new != old and not (may_differ and may_differ(key, new, old)):
            raise RunDirectoryError(differs.format(directory=directory, what=what, key=key, new=new, old=old))


@contextlib.contextmanager
def begun(directory, given):
    """Make the directory of a run, write what was asked for into it, and keep others out of it meanwhile.

    The lock is the kernel's, on an open file: it ends with the process, however that ends, and a resume after a crash
    is free.  On file systems that know no locks there is none.

    Raises
    ------
    RunDirectoryError
        If another process, or another call in this one, is at work there.
    """
    directory = made(directory)
    with _locked(directory / LOCK):
        write_whole(directory / SETTINGS, yaml.safe_dump(given, sort_keys=False))
        yield directory


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
            if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                continue  # the one before has just ended, and taken its file away
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            try:
                yield
            finally:
                with contextlib.suppress(PermissionError):  # Windows keeps a file that is open
                    path.unlink(missing_ok=True)
            return


def asked_for(directory):
    """What the run in a directory was asked for, a dict; empty where it does not say."""
    settings = Path(directory) / SETTINGS
    return yaml.safe_load(settings.read_text()) or {} if settings.exists() else {}
