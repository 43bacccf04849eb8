"""Elements of particles, from what a file states or from names that allow one reading only; never from a first letter.

Three sources are asked in this order; what none of them knows has no element (0):

1. the statement of the file: an element column, an atomic number, a mass (`formats.statements`);
2. the names of monatomic ions, where residue *and* atom have the name of the same ion, or the residue is ION;
3. the nomenclature of amino acids, nucleotides and water, inside these residues only.

The names of ions are those of GROMACS (``residuetypes.dat`` and ``ions.itp`` of its force fields, OPLS-AA among
them), AMBER (``atomic_ions.lib``, ``ions94.lib``), CHARMM (``toppar_water_ions.str``), Martini (``ION``) and the
chemical components of the Protein Data Bank; those of residues are the Protein Data Bank's (version 3), with the
spellings of the force fields above.
"""

import re
from collections.abc import Collection, Sequence

import numpy as np
from openmm import unit
from openmm.app import Element

#: Ions whose name is a symbol, with or without a charge: NA, Na+, MG2+, CL-.
_ION_SYMBOLS = (
    "Li Na K Rb Cs Be Mg Ca Sr Ba Ra Al Ag Cd Ce Co Cr Cu Dy Er Eu Fe Gd Hg La Lu Mn Nd Ni Pb Pd Pr Pt Sm Tb Tl Tm "
    "Yb Zn F Cl Br I"
).split()
#: Ions with a name of their own.
_ION_NAMES = {
    # CHARMM
    **{"LIT": "Li", "SOD": "Na", "POT": "K", "RUB": "Rb", "CES": "Cs", "CAL": "Ca", "BAR": "Ba", "CAD": "Cd"},
    **{"CLA": "Cl", "ZN2": "Zn", "CD2": "Cd"},
    # AMBER and the Protein Data Bank
    **{"IOD": "I", "FE2": "Fe", "FE3": "Fe", "CU1": "Cu", "CU2": "Cu", "MG2": "Mg", "MN3": "Mn", "EU3": "Eu"},
    **{"GD3": "Gd", "YB2": "Yb", "YB3": "Yb", "CIO": "Cs", "CIM": "Cl", "CIP": "Na"},
}
#: Noble gases and metals that are one atom where residue and atom both have the symbol; never W, which is water.
_SINGLE_ATOMS = set("HE NE AR KR XE RN Y TI ZR MO RU RH OS IR AU IN GA SB SN BI".split())
_CHARGE = re.compile(r"[0-9]?[+-]+$|[+-][0-9]$")
_ION_RESIDUES = {"ION", "IONS"}

_AMINO_ACIDS = set(
    "ALA ARG ARGN ASN ASP ASPH ASH CYS CYS2 CYSH CYX CYM GLN GLU GLUH GLH GLY HIS HIS1 HISA HISB HISD HISE HISH HID "
    "HIE HIP HSD HSE HSP GLUP ASPP LSN ILE LEU LYS LYSH LYN MET MSE PHE PRO SER THR TRP TYR VAL ORN ACE NME NMA "
    "NAC NH2".split()
)
_AMINO_ACIDS |= {end + name for name in _AMINO_ACIDS if len(name) == 3 for end in "NC"}
_AMINO_ATOMS = {
    "C": "C CA CB CG CG1 CG2 CD CD1 CD2 CE CE1 CE2 CE3 CZ CZ2 CZ3 CH2 CH3 CY CAY CAT",
    "N": "N ND1 ND2 NE NE1 NE2 NZ NH1 NH2 NT",
    "O": "O OXT OT OT1 OT2 O1 O2 OC1 OC2 OY OD1 OD2 OE1 OE2 OG OG1 OH",
    "S": "SG SD",
    "Se": "SE",
}
_AMINO_ATOMS = {name: symbol for symbol, names in _AMINO_ATOMS.items() for name in names.split()}
_NUCLEOTIDES = set("A C G U I DA DC DG DT DU DI RA RC RG RU ADE CYT GUA URA THY".split())
_NUCLEOTIDES |= {name + end for name in _NUCLEOTIDES for end in "35N"}
_NUCLEOTIDE_ATOM = re.compile(r"(?:P|OP[123]|O[123]P|[CO][1-5]['*]|C[24568]|C7|C5M|N[1-4679]|O[246])$")
_WATERS = set(
    "HOH H2O H20 SOL WAT WATER DOD SPC SPCE OPC OPC3 TIP TIP2 TIP3 TIP4 TIP5 TIP3P TIP4P T3P T4P T4E TP3 TP4".split()
)
_WATER_OXYGENS = {"O", "OW", "OW1", "OH2"}
_HYDROGEN = re.compile(r"[0-9]*H[A-Z0-9'*]*$")

#: Amber's, TIP4P's and PyMOL's names of sites that have no element beside atoms that have one.
_SITES = {"M", "MW", "EP", "EPW", "LP", "X", "XX", "DUM"}
#: Mass of deuterium, amu, which has the atomic number of hydrogen.
DEUTERIUM = Element.getBySymbol("D").mass.value_in_unit(unit.dalton)
#: Elements that no mass tells alone: hydrogens and carbons with moved mass look like them (4.0, 9.0 amu).
_UNTOLD_BY_MASS = {"He", "Be"}


def atomic_number(symbol: str) -> int:
    """Atomic number of an element's symbol in any case; 0 if it is none."""
    try:
        return int(Element.getBySymbol(symbol.strip().capitalize()).atomic_number)
    except KeyError:
        return 0


def doubt(names: Collection[str]) -> str:
    """Why names that are symbols in some case may be those of beads; empty where they are elements to everyone.

    Examples
    --------
    >>> doubt(["Li", "CL"]), doubt(["CA"])
    ('', 'CA is a C-alpha or calcium')
    """
    names = set(names)
    if "CA" in names and (names == {"CA"} or "C" in names):
        return "CA is a C-alpha or calcium"
    if "W" in names and any(len(name) == 2 and name.isupper() for name in names):
        return "W beside names in capitals is a bead of water or tungsten"
    return ""


def column_elements(names: Sequence[str]) -> tuple[np.ndarray, bool]:
    """Atomic numbers that a column of names states: of all of them, virtual sites apart, or of none.

    Returns
    -------
    numbers : array, shape (n_atoms,), dtype int64
        0 throughout where a name is no symbol, or all are "W" (see `doubt` too).
    loose : bool
        Whether some are symbols in another case only, as "CL" is.

    Examples
    --------
    >>> column_elements(["O", "M", "CL"])[0].tolist(), column_elements(["W", "P4"])[0].tolist()
    ([8, 0, 17], [0, 0])
    """
    kinds = {name: atomic_number(name) for name in names}
    plain = kinds.keys() - _SITES
    if not plain or plain == {"W"} or doubt(plain) or not all(kinds[name] for name in plain):
        return np.zeros(len(names), dtype=np.int64), False
    loose = any(name != name.capitalize() for name in plain)
    return np.array([kinds[name] * (name in plain) for name in names], dtype=np.int64), loose


def heavy_hydrogens(symbols: Sequence[str]) -> np.ndarray | None:
    """Masses of the atoms that are "D", deuterium, amu, and NaN for all others; None where there is none."""
    found = np.array([symbol == "D" for symbol in symbols])
    return np.where(found, DEUTERIUM, np.nan) if found.any() else None


def ion_element(residue: str, atom: str) -> int:
    """Atomic number of the monatomic ion that residue and atom both name, or an atom in a residue ION; else 0.

    Examples
    --------
    >>> ion_element("SOD", "SOD"), ion_element("ION", "CL-"), ion_element("ALA", "CA"), ion_element("CA2+", "CA")
    (11, 17, 0, 20)
    """
    ion = _ion(atom)
    if not ion and residue.upper() == atom.upper() and atom.upper() in _SINGLE_ATOMS:
        return atomic_number(atom)
    return ion if ion and (residue.upper() in _ION_RESIDUES or _ion(residue) == ion) else 0


def _ion(name: str) -> int:
    name = name.strip().upper()
    named = _ION_NAMES.get(name)
    if named is None:
        bare = _CHARGE.sub("", name)
        named = _ION_NAMES.get(bare, bare.capitalize() if bare.capitalize() in _ION_SYMBOLS else None)
    return 0 if named is None else atomic_number(named)


def residue_element(residue: str, atom: str) -> int:
    """Atomic number of an atom of an amino acid, a nucleotide or a water molecule by its standard name; else 0.

    A virtual site (MW, EPW, LP1) has none, nor has a coarse bead (BB, SC1).

    Examples
    --------
    >>> residue_element("ALA", "CA"), residue_element("HOH", "MW"), residue_element("DA", "O5'")
    (6, 0, 8)
    """
    residue, atom = residue.upper(), atom.upper()
    if residue in _WATERS:
        symbol = "O" if atom in _WATER_OXYGENS else None
    elif residue in _AMINO_ACIDS:
        symbol = _AMINO_ATOMS.get(atom)
    elif residue in _NUCLEOTIDES:
        symbol = atom[0] if _NUCLEOTIDE_ATOM.match(atom) else None
    else:
        return 0
    if symbol is None and _HYDROGEN.match(atom):
        symbol = "H"
    return 0 if symbol is None else atomic_number(symbol)


def named_element(residue: str, atom: str) -> int:
    """Atomic number that the names of residue and atom tell without doubt; else 0."""
    return ion_element(residue, atom) or residue_element(residue, atom)


def mass_element(mass: float, residue: str = "", atom: str = "") -> int:
    """Atomic number of an atom by its mass, with which its name must agree; else 0.

    Masses of whole groups of atoms lie near those of elements (CH2 near N), and so do
    masses that were moved from heavy atoms to hydrogens (C with H of 4 amu near Be).
    An element is taken where the names tell it and the mass does not contradict, where
    the name starts with its symbol, or where mass alone leaves no doubt (0.012 amu).

    Parameters
    ----------
    mass : float, amu
    residue, atom : str
        Names; empty: not known.

    Examples
    --------
    >>> mass_element(22.98977, "SOD", "SOD"), mass_element(72.0, "ALA", "CA"), mass_element(14.027, "LIG", "CB")
    (11, 0, 0)
    """
    if not mass > 0:
        return 0
    named = named_element(residue, atom)
    if named:
        return named if _holds(mass, named) else 0
    nearest = Element.getByMass(mass * unit.dalton)
    if nearest is None:  # lighter than half a hydrogen: Drude particles, units of Lennard-Jones
        return 0
    apart = abs(nearest.mass.value_in_unit(unit.dalton) - mass)
    if apart > 0.02 + 2e-4 * mass:
        return 0
    told = atom.lstrip("0123456789").upper().startswith(nearest.symbol.upper())
    certain = apart <= 0.012 and nearest.symbol not in _UNTOLD_BY_MASS
    return int(nearest.atomic_number) if told or certain else 0


def _holds(mass: float, number: int) -> bool:
    """Whether an atom of an element may have a mass, hydrogens made heavier at their neighbours' cost included."""
    own = Element.getByAtomicNumber(number).mass.value_in_unit(unit.dalton)
    if number == 1:
        return 0.9 * own <= mass <= 4.1
    # At most three hydrogens of 4 amu take from a heavy atom.
    return own - 3.1 * 3 <= mass <= 1.02 * own and mass > 0.2 * own


def settled(
    names: Sequence[tuple[str, str]], stated: Sequence[int | None], groups: Sequence[frozenset[str]]
) -> tuple[np.ndarray, list[str]]:
    """Atomic numbers of the atoms of a topology, 0 where there is no element, and what the file says against its names.

    Parameters
    ----------
    names : sequence of (str, str)
        Names of residue and atom.
    stated : sequence of int or None
        Atomic number that the file states, 0 for none, None where it is silent.
    groups : sequence of frozenset of str
        The names of all atoms in the residue of each atom: an ion's has one.

    Returns
    -------
    numbers : array, shape (n_atoms,), dtype int64
    contradictions : list of str
        One sentence for each kind of atom where statement and ion name disagree.  The statement holds, unless it is
        what a program guesses from the first letters of the name (N for NA, C for CLA).
    """
    numbers = np.zeros(len(names), dtype=np.int64)
    contradictions: dict[tuple[str, str, int], str] = {}
    for index, ((residue, atom), said, group) in enumerate(zip(names, stated, groups)):
        ion = ion_element(residue, atom) if len(group) == 1 or residue.upper() in _ION_RESIDUES else 0
        if said is None:
            numbers[index] = ion or residue_element(residue, atom)
            continue
        numbers[index] = said
        if ion and said and said != ion:
            guessed = atom.strip().upper().startswith(_symbol(said).upper())
            numbers[index] = ion if guessed else said
            contradictions[residue, atom, said] = (
                f"atom {atom} of residue {residue} has the name of {_symbol(ion)} and is stated to be {_symbol(said)}, "
                + (f"a guess from its first letters: {_symbol(ion)} is taken" if guessed else "which is kept")
            )
    return numbers, list(contradictions.values())


def _symbol(number: int) -> str:
    return str(Element.getByAtomicNumber(number).symbol)
