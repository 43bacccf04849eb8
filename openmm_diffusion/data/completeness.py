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

log = logging.getLogger(__name__)

#: Words in the titles of programs that count the frames in the header as they write them; CHARMM writes how many it
#: was asked for, and a run that ended early leaves a whole file.
_COUNTING = (b"OpenMM", b"DCD plugin", b"NAMD")
#: Bytes of an XTC frame before its positions, and of their own header where they are compressed.
_XTC_START, _XTC_PACKED = 56, 36
#: Up to so many atoms XTC writes plain floats.
_XTC_PLAIN = 9


def check_whole(path: str | os.PathLike[str]) -> None:
    """Refuse a DCD or XTC file that ends within a frame, or has fewer than its header says; others are not looked at.

    Raises
    ------
    ValueError
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".dcd":
        _check_dcd(path)
    elif kind == ".xtc":
        _check_xtc(path)


def _check_dcd(path: Path) -> None:
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(92)
        order = next((o for o in "<>" if start[:8] == struct.pack(f"{o}i4s", 84, b"CORD")), None)
        if order is None or len(start) < 92:
            return  # mdtraj says what it is not
        control = struct.unpack(f"{order}20i", start[8:88])
        announced, fixed, cell, four = control[0], control[8], control[10], control[11]
        length = _integer(file.read(4), order)
        title = file.read(min(max(length, 0), size))
        marks = struct.unpack(f"{order}4i", file.read(16).ljust(16, b"\0"))
        start_of_frames = file.tell()
    if (marks[0], marks[1], marks[3]) != (length, 4, 4) or fixed:
        return  # another form of the file, or one whose later frames are shorter: both are rare
    atoms = marks[2]
    frame = (56 if cell else 0) + (4 if four == 1 else 3) * (8 + 4 * atoms)
    if atoms < 1 or frame > size:
        raise ValueError(f"{path} announces {atoms} atoms, more than its {size} bytes hold: copy it again")
    found, rest = divmod(size - start_of_frames, frame)
    if rest:
        raise _cut(path, found)
    if announced > found and not any(writer in title for writer in _COUNTING):
        log.warning("%s has %d frames where its header says %d: was it cut?", path, found, announced)
    elif announced > found:
        raise ValueError(
            f"{path} has {found} frames where its header says {announced}: it was cut, or is being written; copy it "
            "again, or write the frames that are there into a new file"
        )


def _check_xtc(path: Path) -> None:
    size, at, found = path.stat().st_size, 0, 0
    with open(path, "rb") as file:
        while at < size:
            file.seek(at)
            start = file.read(_XTC_START + _XTC_PACKED + 8)
            magic = _integer(start, ">")
            if magic not in (1995, 2023):
                if at == 0:
                    return  # mdtraj says what it is not
                raise ValueError(f"{path} has no frame where frame {found} is due: copy it again, or cut it there")
            atoms = _integer(start[4:], ">")
            if 0 <= atoms <= _XTC_PLAIN:
                length = _XTC_START + 12 * atoms
            elif magic == 2023:
                length = _XTC_START + _XTC_PACKED + 4 + _padded(_integer(start[88:], ">", 8))
            else:
                length = _XTC_START + _XTC_PACKED + _padded(_integer(start[88:], ">"))
            if atoms < 0 or length < _XTC_START or at + length > size:
                raise _cut(path, found)
            at, found = at + length, found + 1


def _integer(data: bytes, order: str, width: int = 4) -> int:
    """The first whole number of some bytes; -1 where they are too few."""
    return struct.unpack(f"{order}{'i' if width == 4 else 'q'}", data[:width])[0] if len(data) >= width else -1


def _padded(length: int) -> int:
    return (length + 3) // 4 * 4 if length >= 0 else -(1 << 62)


def _cut(path: Path, frames: int) -> ValueError:
    return ValueError(
        f"{path} ends within frame {frames}, counted from 0: it was cut, or is being written; copy it again, or write "
        "the frames that are whole into a new file"
    )
