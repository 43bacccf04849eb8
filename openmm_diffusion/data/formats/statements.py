"""What the file of a topology states of the elements and masses of its atoms, in mdtraj's order of atoms.

mdtraj guesses elements from names where a file is silent, and does not say where it did: PDB without columns 77-78,
GROMACS .gro, AMBER prmtop without ATOMIC_NUMBER, PSF (ions by the first letters of their names), Tinker .arc.
Here a file is asked itself; None means that it states nothing.
"""

import gzip
import logging
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import mdtraj
import numpy as np
import scipy.io
from mdtraj.formats.pdb.pdbstructure import PdbStructure

from ...units import ANGSTROM
from ..elements import atomic_number, heavy_hydrogens, mass_element, residue_element
from . import suffix
from .gro import read_gro

log = logging.getLogger(__name__)

#: Names of lipids' beads that no atom has (Martini, ``martini_v2.0_lipids.itp``).
_LIPID_BEADS = {"GL0", "GL1", "GL2"}


@dataclass(frozen=True)
class Statements:
    """Elements, masses and bonds as far as the file itself states them."""

    numbers: list[int | None]
    """Atomic numbers, 0 for a stated lack of one, None where the file is silent."""
    masses: np.ndarray | None = None
    """Masses, shape (n_atoms,), amu, or None."""
    bonds: bool = False
    """Whether the file lists all bonds; otherwise those of standard residues are inferred."""


def statements(path: Path, topology: mdtraj.Topology) -> Statements:
    """What a file states of the atoms of the topology that mdtraj read from it."""
    suffixes = suffix(path)
    silent = Statements([None] * topology.n_atoms)
    if suffixes in (".pdb", ".pdb.gz"):
        found = Statements(*_pdb(path))
    elif suffixes.removesuffix(".gz") in (".cif", ".mmcif", ".pdbx"):
        found = Statements(_mdtrajs(topology))
    elif suffixes in (".h5", ".hdf5"):
        found = Statements(_mdtrajs(topology), bonds=True)
    elif suffixes in (".prmtop", ".parm7", ".prm7"):
        found = _prmtop(path, topology)
    elif suffixes == ".psf":
        found = _psf(path, topology)
    elif suffixes == ".mol2":
        found = Statements(_mol2(path), bonds=True)
    elif suffixes in (".gsd", ".hoomdxml"):
        found = Statements(silent.numbers, bonds=topology.n_bonds > 0)
    else:
        found = silent
    if len(found.numbers) != topology.n_atoms:
        raise ValueError(
            f"{path} names {len(found.numbers)} atoms, and mdtraj reads {topology.n_atoms} of them: "
            "write the file again"
        )
    return found


def _mdtrajs(topology: mdtraj.Topology) -> list[int | None]:
    """The elements of formats in which mdtraj takes what is written and guesses nothing."""
    return [atom.element.atomic_number or None if atom.element is not None else None for atom in topology.atoms]


def _open(path: Path) -> IO[str]:
    return gzip.open(path, "rt") if path.suffix == ".gz" else open(path, encoding="utf-8", errors="replace")


def _pdb(path: Path) -> tuple[list[int | None], np.ndarray | None]:
    """Elements of the column of a PDB file, and the masses of deuterium; none where it holds guesses from beads."""
    # mdtraj's own reader of records, so that atoms and alternate locations come in the same order.
    with _open(path) as file:
        structure = PdbStructure(file, load_all_models=False)
    atoms = [atom for chain in structure.iter_chains() for residue in chain.iter_residues() for atom in residue.atoms]
    symbols = [str(atom.element_symbol).strip().capitalize() for atom in atoms]
    numbers: list[int | None] = [atomic_number(symbol) or None for symbol in symbols]
    for atom, number in zip(atoms, numbers):
        if number and _is_bead(atom.residue_name.strip().upper(), atom.name.strip().upper()):
            log.warning(
                "%s: the element column says %s for the bead %s of %s, a guess from its name: it is not taken",
                path, atom.element_symbol, atom.name.strip(), atom.residue_name.strip(),
            )  # fmt: skip
            return [None] * len(atoms), None
    return numbers, heavy_hydrogens(symbols)


def _is_bead(residue: str, atom: str) -> bool:
    """Whether names are those of a bead of Martini: water, the backbone of an amino acid, the glycerol of a lipid."""
    backbone = atom == "BB" and residue_element(residue, "CA") == 6
    return (residue, atom) == ("W", "W") or backbone or atom in _LIPID_BEADS


def has_forces(path: Path) -> bool:
    """Whether a trajectory holds forces that mdtraj does not read: GROMACS' TRR and AMBER's NetCDF."""
    try:
        if suffix(path) == ".trr":
            with open(path, "rb") as file:
                head = file.read(64)
            # The last of the sizes in the header of the first frame (GROMACS, ``trrio.cpp``) is that of the forces.
            return len(head) == 64 and struct.unpack(">i", head[60:])[0] > 0
        if suffix(path) in (".nc", ".netcdf", ".ncdf"):
            with scipy.io.netcdf_file(path, "r", mmap=False) as file:
                return "forces" in file.variables
    except (OSError, TypeError, ValueError, struct.error):
        pass  # whatever reads the positions says what is wrong
    return False


def pdb_cells(path: Path, n_frames: int, lengths: np.ndarray, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (nm) and angles (degrees) of each model of a PDB file, of which mdtraj knows the last only.

    Parameters
    ----------
    path : Path
    n_frames : int
    lengths, angles : array, shape (n_frames, 3)
        What mdtraj read.
    """
    with _open(path) as lines:
        found = [line for line in lines if line.startswith("CRYST1")]
    if len({line[6:54] for line in found}) <= 1:
        return lengths, angles
    if len(found) != n_frames:
        raise ValueError(
            f"it holds {len(found)} CRYST1 records that differ for {n_frames} models: give one for each model, or one"
        )
    numbers = [[float(line[6 + 9 * at : 15 + 9 * at]) for at in range(3)] for line in found]
    corners = [[float(line[33 + 7 * at : 40 + 7 * at]) for at in range(3)] for line in found]
    return np.array(numbers) * ANGSTROM, np.array(corners)


def has_cell(path: Path) -> bool:
    """Whether a PDB or .gro file that serves as a topology has a box."""
    if suffix(path) == ".gro":
        return next(read_gro(path))[1] is not None
    if suffix(path) not in (".pdb", ".pdb.gz"):
        return False
    with _open(path) as lines:
        # CRYST1 with edges of 1 Angstrom stands for none.
        return any(line.startswith("CRYST1") and float(line[6:15]) > 1.5 for line in lines)


def _prmtop(path: Path, topology: mdtraj.Topology) -> Statements:
    sections = _prmtop_sections(path, ("ATOMIC_NUMBER", "MASS"))
    masses = np.array(sections["MASS"], dtype=float) if "MASS" in sections else None
    if "ATOMIC_NUMBER" in sections:
        # -1 and 0: an extra point, or a type that the writer of the file knew no element of.
        numbers: list[int | None] = [max(int(text), 0) for text in sections["ATOMIC_NUMBER"]]
    else:
        numbers = _by_mass(masses, topology)
    return Statements(numbers, masses, bonds=True)


def _prmtop_sections(path: Path, wanted: tuple[str, ...]) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    flag, width = "", 0
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("%FLAG"):
                flag = line.split()[1]
            elif line.startswith("%FORMAT"):
                width = int(re.search(r"\(\s*\d+\s*[a-zA-Z]\s*(\d+)", line).group(1)) if flag in wanted else 0  # type: ignore[union-attr]
            elif width and not line.startswith("%"):
                row = line.rstrip()
                sections.setdefault(flag, []).extend(row[at : at + width] for at in range(0, len(row), width))
    return sections


def _psf(path: Path, topology: mdtraj.Topology) -> Statements:
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if "!NATOM" in line:
                break
        rows = [next(lines, "").split() for _ in range(topology.n_atoms)]
    try:
        masses = np.array([float(row[7]) for row in rows])
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path} holds atoms without a mass ({error}): write the PSF file again") from error
    return Statements(_by_mass(masses, topology), masses, bonds=True)


def _by_mass(masses: np.ndarray | None, topology: mdtraj.Topology) -> list[int | None]:
    if masses is None:
        return [None] * topology.n_atoms
    return [mass_element(mass, atom.residue.name, atom.name) for mass, atom in zip(masses.tolist(), topology.atoms)]


#: SYBYL atom types without a dot that are element symbols; with one, the symbol stands before it (C.3, N.am).
_SYBYL = set("H C N O S P F Cl Br I Li Na K Mg Ca Al Si Mn Fe Cu Zn Se Mo Sn Hg Ag Rb Cs Sr Ba".split())
#: GAFF atom types: lower case, their element is what they start with (Wang et al., J. Comput. Chem. 25, 1157 (2004)).
_GAFF = re.compile(r"(cl|br|[chnospfi])[a-z0-9]?[a-z0-9]?$")


def _mol2(path: Path) -> list[int | None]:
    return [_mol2_type(row[5]) for row in _mol2_rows(path)]


def _mol2_rows(path: Path) -> Iterator[list[str]]:
    inside = False
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("@<TRIPOS>"):
                inside = line.strip() == "@<TRIPOS>ATOM"
            elif inside and line.strip():
                yield line.split()


def _mol2_type(kind: str) -> int | None:
    if kind.split(".")[0] in ("LP", "Du"):
        return 0
    if kind.split(".")[0] in _SYBYL:
        return atomic_number(kind.split(".")[0])
    gaff = _GAFF.match(kind)
    return atomic_number(gaff.group(1)) if gaff else None
