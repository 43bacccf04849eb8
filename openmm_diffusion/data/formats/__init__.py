"""Files of one format each: what they hold, and what they say of their particles."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...units import shown

#: The package that a format needs beside our own requirements.
_PACKAGES = {".h5": "tables", ".hdf5": "tables", ".lh5": "tables", ".gsd": "gsd"}
#: Formats of positions without names.
_BARE = set(".xtc .trr .dcd .nc .netcdf .ncdf .mdcrd .crd .rst7 .restrt .inpcrd .ncrst .binpos .dtr .stk".split())
#: Extensions under which LAMMPS dumps are written too.
_NAMELESS = {".lammps", ".txt", ".custom", ".atom", ".dat", ""}
#: Errors by which mdtraj says that it cannot read a file.
FAULTS = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, AssertionError, StopIteration)


def as_path(value: Any, argument: str = "path") -> Path:
    """What a caller gives as a path, as one."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{argument} is {shown(value)}: give the path of a file")
    return Path(value)


def listed(value: Any, argument: str) -> list[Path]:
    """A path, or a list of paths, as a list."""
    values = [value] if isinstance(value, (str, os.PathLike)) or not isinstance(value, Iterable) else list(value)
    if not values:
        raise ValueError(f"{argument} is an empty list: give at least one file")
    return [as_path(one, argument) for one in values]


def announced(text: str, path: str | os.PathLike[str]) -> int:
    """The number of atoms that a text file announces, 0 where it is none; refused where the file is too short for it.

    An atom takes six bytes at least; gzip makes a text up to a thousand times smaller.
    """
    if not text.isdecimal():
        return 0
    room = os.path.getsize(path) * (1100 if str(path).endswith(".gz") else 1) // 6
    if len(text) > 18 or int(text) > room:
        raise ValueError(f"{path} announces {text[:20]} atoms, more than its size has room for: write the file again")
    return int(text)


def existing(path: str | os.PathLike[str]) -> Path:
    """The path of a file that is there."""
    path = as_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file (looked from {Path.cwd()}): give the path of an existing one")
    return path


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """What libraries in C print on standard output meanwhile goes nowhere, and stays out of files of it."""
    try:
        library, kept = ctypes.CDLL(None), os.dup(1)
    except (OSError, TypeError):  # Windows; no standard output
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        library.fflush(None)
        os.dup2(nowhere, 1)
        yield
    finally:
        library.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def suffix(path: Path) -> str:
    """The extension of a file in lower case, .pdb.gz with both its parts."""
    return "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def lacking(path: Path) -> ImportError:
    """The error for a file whose format needs a package that is not installed."""
    package = _PACKAGES.get(suffix(path), "that the message above names")
    return ImportError(f"{path} needs the package {package}, which is not installed: pip install {package}")


def untold(path: Path) -> ValueError | None:
    """The error for a trajectory that never says what its atoms are, or whose name says nothing; None for others."""
    kind = suffix(path)
    if kind == ".traj":
        return ValueError(f"{path} is a trajectory of ASE: write it as XYZ, ase convert {path.name} {path.stem}.xyz")
    if kind in _NAMELESS:
        return ValueError(
            f"{path} has the extension {kind or '(none)'}, which says nothing of its form: name a LAMMPS dump "
            ".lammpstrj or .dump, extended XYZ .xyz"
        )
    if kind in _BARE:
        return ValueError(
            f"{path} does not say what its atoms are: give a topology, as in top='system.pdb' (--top system.pdb; "
            "PDB, mmCIF, .gro, prmtop, PSF, mol2 or LAMMPS data)"
        )
    return None


def unreadable(path: Path, error: Exception, top: bool = False) -> ValueError:
    """The error for a trajectory, or a topology, that mdtraj cannot read."""
    said = str(error).strip() or f"{type(error).__name__}, without a word"
    if top:
        return ValueError(
            f"{path} cannot be read by mdtraj as a topology ({said}): "
            "give a PDB, mmCIF, .gro, prmtop, PSF, mol2 or LAMMPS data file as top"
        )
    return ValueError(
        f"{path} cannot be read by mdtraj ({said}): give a complete file, and its topology as top='system.pdb'"
    )
