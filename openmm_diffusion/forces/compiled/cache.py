"""Where compiled forces are kept between runs: programs, which nobody else may have written, and whole ones."""

import hashlib
import logging
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

log = logging.getLogger(__name__)

#: Names the directory that compiled forces are kept in; without it, the user's cache directory.
CACHE = "OPENMM_DIFFUSION_CACHE"

#: Bytes that compiled forces may take together: some hundred of them.  Those used longest ago go first.
LIMIT = 2_000_000_000

#: s after which what a compilation was at work on is that of a killed one.
ABANDONED = 86_400


def cache_directory() -> Path:
    """Where compiled forces are kept: $OPENMM_DIFFUSION_CACHE, or openmm_diffusion in the user's cache directory."""
    if os.environ.get(CACHE):
        return Path(os.environ[CACHE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openmm_diffusion"


def kept(path: Path) -> bool:
    """Whether a compiled force is in the cache, whole; what is there is marked as used.

    Raises
    ------
    PermissionError
        If others may have written it: it is a program.
    """
    digest = path.with_suffix(".sha256")
    try:
        _refuse_others(path.parent)
        for file in (path, digest):
            _refuse_others(file)
        whole = digest.read_text() == _digest(path)
    except FileNotFoundError:
        return False
    if whole:
        os.utime(path)
    return whole


def workplace() -> "tempfile.TemporaryDirectory[str]":
    """A directory in the cache to compile in, on the same file system.

    Raises
    ------
    OSError
    """
    directory = cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = tempfile.TemporaryDirectory(dir=directory, prefix="compiling-")
    except OSError as error:
        raise OSError(f"{directory} cannot be written to ({error.strerror}): name another in {CACHE}") from error
    _refuse_others(directory)
    return place


def keep(package: Path, path: Path) -> None:
    """Put a compiled force into the cache, whole or not at all, and make room."""
    digest = package.with_suffix(".sha256")
    digest.write_text(_digest(package))
    for file in (package, digest):
        file.chmod(0o600)
    # The digest last: until then, the force does not count as there.
    path.with_suffix(".sha256").unlink(missing_ok=True)
    package.replace(path)
    digest.replace(path.with_suffix(".sha256"))
    clean(path)


def clean(newest: Path) -> None:
    """Take away what was used longest ago, beyond `LIMIT`, and what killed compilations have left."""
    directory = newest.parent
    for left in directory.glob("compiling-*"):
        if time.time() - left.stat().st_mtime > ABANDONED:
            shutil.rmtree(left, ignore_errors=True)
    forces = [path for path in directory.glob("*.pt2") if path != newest]
    used = newest.stat().st_size
    for path in sorted(forces, key=lambda path: path.stat().st_mtime, reverse=True):
        used += path.stat().st_size
        if used > LIMIT:
            log.info("%s is taken out of the cache of compiled forces", path)
            path.unlink(missing_ok=True)
            path.with_suffix(".sha256").unlink(missing_ok=True)


def _refuse_others(path: Path) -> None:
    """Refuse what another user owns or may write to."""
    if not hasattr(os, "getuid"):  # Windows has no such bits
        return
    found = path.stat()
    if found.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user: compiled forces are programs; name another in {CACHE}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            f"{path} may be written to by others, but compiled forces are programs: chmod go-w it, or name another "
            f"directory in {CACHE}"
        )


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
