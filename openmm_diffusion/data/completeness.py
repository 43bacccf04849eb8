"""Whether binary trajectories are whole: a file that was cut reads as a shorter run, and nobody would notice.

A DCD file says how many frames it has, and all of them have one size.  An XTC file does not, but every frame says how
long it is; of one that ends between two frames nothing can be seen.

References
----------
CHARMM's and NAMD's DCD: records of Fortran, of a header (CORD), a title and the number of atoms.  GROMACS' XTC: the
layout of ``xdrfile``; magic number 1995, or 2023 for frames of 300 million atoms and more.
"""

import logging
import os
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

log = logging.getLogger(__name__)

#: Words in the titles of programs that count the frames in the header as they write them; CHARMM writes how many it
#: was asked for, and a run that ended early leaves a whole file.
_COUNTING = (b"OpenMM", b"DCD plugin", b"NAMD")
#: Bytes of an XTC frame before its positions, and of their own header where they are compressed.
_XTC_START, _XTC_PACKED = 56, 36
#: Up to so many atoms XTC writes plain floats.
_XTC_PLAIN = 9


class Layout(NamedTuple):
    """Where the frames of a binary trajectory are.

    Attributes
    ----------
    ends : array of int
        Byte after each whole frame.
    torn : bool
        Whether more follows, which is no whole frame.
    announced : int or None
        Frames that the header tells of; None where it does not.
    counting : bool
        Whether the program that wrote it counts the frames there as it writes them.
    """

    ends: np.ndarray
    torn: bool
    announced: int | None = None
    counting: bool = False


def layout(path: str | os.PathLike[str]) -> Layout | None:
    """Where the frames of a DCD or XTC file are; None for other files, and rare forms of these.

    Raises
    ------
    ValueError
        For a DCD file whose header tells of more than there is.
    """
    path = Path(path)
    reader = {".dcd": _dcd_layout, ".xtc": _xtc_layout}.get(path.suffix.lower())
    return None if reader is None else reader(path)


def check_whole(path: str | os.PathLike[str]) -> None:
    """Refuse a DCD or XTC file that ends within a frame, or has fewer than its header says; others are not looked at.

    Raises
    ------
    ValueError
    """
    found = layout(path)
    if found is None:
        return
    number = len(found.ends)
    if found.torn:
        raise ValueError(
            f"{path} ends within frame {number}, counted from 0: it was cut, or is being written; copy it again, or "
            "write the frames that are whole into a new file"
        )
    if found.announced is None or found.announced <= number:
        return
    if found.counting:
        raise ValueError(
            f"{path} has {number} frames where its header says {found.announced}: it was cut, or is being written; "
            "copy it again, or write the frames that are there into a new file"
        )
    log.warning("%s has %d frames where its header says %d: was it cut?", path, number, found.announced)


def keep_frames(path: str | os.PathLike[str], number: int) -> None:
    """Cut what follows the first frames of a DCD or XTC file off, and let the header of a DCD file say so.

    Raises
    ------
    ValueError
        Where there are fewer whole frames.
    """
    found = layout(path)
    if found is None or len(found.ends) < number:
        raise ValueError(f"{path} holds {0 if found is None else len(found.ends)} whole frames, not {number}")
    if not found.torn and len(found.ends) == number and found.announced in (None, number):
        return  # nothing follows
    with open(path, "r+b") as file:
        file.truncate(int(found.ends[number - 1]))
        if found.announced is not None:
            order = "<" if file.read(1) == b"T" else ">"  # the length of the first record, 84
            file.seek(8)
            file.write(struct.pack(f"{order}i", number))
        file.flush()
        os.fsync(file.fileno())


def _dcd_layout(path: Path) -> Layout | None:
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(92)
        order = next((o for o in "<>" if start[:8] == struct.pack(f"{o}i4s", 84, b"CORD")), None)
        if order is None or len(start) < 92:
            return None  # mdtraj says what it is not
        control = struct.unpack(f"{order}20i", start[8:88])
        announced, fixed, cell, four = control[0], control[8], control[10], control[11]
        length = _integer(file.read(4), order)
        title = file.read(min(max(length, 0), size))
        marks = struct.unpack(f"{order}4i", file.read(16).ljust(16, b"\0"))
        start_of_frames = file.tell()
    if (marks[0], marks[1], marks[3]) != (length, 4, 4) or fixed:
        return None  # another form of the file, or one whose later frames are shorter: both are rare
    atoms = marks[2]
    frame = (56 if cell else 0) + (4 if four == 1 else 3) * (8 + 4 * atoms)
    if atoms < 1 or (frame > size and announced > 0):
        raise ValueError(f"{path} announces {atoms} atoms, more than its {size} bytes hold: copy it again")
    number, rest = divmod(max(0, size - start_of_frames), frame)
    ends = start_of_frames + frame * np.arange(1, number + 1)
    return Layout(ends, bool(rest), announced, any(writer in title for writer in _COUNTING))


def _xtc_layout(path: Path) -> Layout | None:
    size, ends = path.stat().st_size, [0]
    with open(path, "rb") as file:
        while ends[-1] < size:
            file.seek(ends[-1])
            start = file.read(_XTC_START + _XTC_PACKED + 8)
            magic = _integer(start, ">")
            if magic not in (1995, 2023):
                if len(ends) == 1:
                    return None  # mdtraj says what it is not
                break  # no frame, where one is due
            atoms = _integer(start[4:], ">")
            if 0 <= atoms <= _XTC_PLAIN:
                length = _XTC_START + 12 * atoms
            elif magic == 2023:
                length = _XTC_START + _XTC_PACKED + 4 + _padded(_integer(start[88:], ">", 8))
            else:
                length = _XTC_START + _XTC_PACKED + _padded(_integer(start[88:], ">"))
            if atoms < 0 or length < _XTC_START or ends[-1] + length > size:
                break
            ends.append(ends[-1] + length)
    return Layout(np.array(ends[1:], dtype=np.int64), ends[-1] < size)


def _integer(data: bytes, order: str, width: int = 4) -> int:
    """The first whole number of some bytes; -1 where they are too few."""
    return struct.unpack(f"{order}{'i' if width == 4 else 'q'}", data[:width])[0] if len(data) >= width else -1


def _padded(length: int) -> int:
    return (length + 3) // 4 * 4 if length >= 0 else -(1 << 62)
