"""Names under which people store forces, and the units that files name."""

import logging
import os
import re
from collections.abc import Iterable

import numpy as np

from ...units import ANGSTROM, BOHR, ELECTRONVOLT, HARTREE, KILOCALORIE

log = logging.getLogger(__name__)

#: Names of forces: forces, force, F, and with an author or a method before or behind them (MACE's REF_forces).
_FORCES = re.compile(
    r"(?:.*_)?forces?(?:_.*)?|[a-z0-9]+forces|f|frc|"
    r"forces(?:dft|qm|ref)|f_(?:dft|qm|ref)|(?:dft|qm|ref)_f",
    re.IGNORECASE,
)
#: What has "forces" in its name and is none.
_NO_LABEL = re.compile(
    r"(?:^|_)(?:bias|std|stdev|var|variance|err|error|unc|uncertainty|weights?|mask|units?|min|max|mean|rms|norm|scale|"
    r"constants?|fields?|index|indices|type)(?:_|$)",
    re.IGNORECASE,
)
#: What belongs in such files and has no use here.
_PASSED_OVER = re.compile(
    r"(?:.*_)?(?:energy|energies|e|stress|stresses|virials?|dipole|dipoles|charges?|magmoms?|mass|masses|velo|velocities|"
    r"momenta|weight|weights|config_type|time|step|comment|name|theory|md5|tags?|move_mask|e_(?:min|max|mean|var)|"
    r"f_(?:min|max|mean|var)|old_.*|id|index|type|free_energy|n|d|q)(?:_.*)?|config_.*",
    re.IGNORECASE,
)
_LENGTHS = {
    **dict.fromkeys(("a", "å", "ang", "angs", "angstrom", "angstroms", "ångström"), ANGSTROM),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre"), 1.0),
    **dict.fromkeys(("bohr", "bohrs", "a0", "au", "a.u.", "atomic_unit"), BOHR),
    **dict.fromkeys(("pm", "picometer"), 1e-3),
}
_ENERGIES = {
    **dict.fromkeys(("ev", "electronvolt", "electronvolts"), ELECTRONVOLT),
    **dict.fromkeys(("kcal/mol", "kcalmol", "kcal", "kcal mol-1", "kcal*mol^-1", "kilocalorie/mole"), KILOCALORIE),
    **dict.fromkeys(("kj/mol", "kjmol", "kj", "kj mol-1", "kj*mol^-1", "kilojoule/mole"), 1.0),
    **dict.fromkeys(("ha", "hartree", "hartrees", "eh", "e_h", "au", "a.u."), HARTREE),
    **dict.fromkeys(("mha", "mhartree", "millihartree"), HARTREE / 1000),
    **dict.fromkeys(("ry", "rydberg"), HARTREE / 2),
}


def forces_name(names: Iterable[str], forces_key: str | None, source: str | os.PathLike[str]) -> str | None:
    """The one name among those of a file's arrays or columns under which it keeps forces, or None.

    Parameters
    ----------
    names : iterable of str
    forces_key : str or None
        The name that the user says it is.
    source : path-like
        The file, for the error.

    Raises
    ------
    ValueError
        If two names may be the labels, or `forces_key` is none of the names.

    Examples
    --------
    >>> forces_name(["species", "REF_forces", "forces_std"], None, "a.xyz")
    'REF_forces'
    """
    names = sorted(set(names))
    if forces_key is not None:
        if forces_key not in names:
            held = ", ".join(names) or "no vectors"
            raise ValueError(f"forces_key is {forces_key!r}, but {source} has {held}: name one of them")
        return forces_key
    found = [name for name in names if _FORCES.fullmatch(name) and not _NO_LABEL.search(name)]
    if len(found) > 1:
        raise ValueError(
            f"{source} holds forces under {len(found)} names, {' and '.join(found)}: "
            f"say which are the labels, as in Frames.load(path, forces_key={found[0]!r}) or, in the configuration of a "
            f"training, data.forces_key: {found[0]}"
        )
    return found[0] if found else None


def name_unread(names: Iterable[str], source: str | os.PathLike[str]) -> None:
    """Say in one line of the log what of a file was not used: as a warning where we do not know what it is."""
    names = sorted(set(names))
    unknown = [name for name in names if not _PASSED_OVER.fullmatch(name)]
    if len(unknown) < len(names):
        log.info("%s: not used: %s", source, ", ".join(name for name in names if name not in unknown))
    if unknown:
        log.warning("%s: not understood and left out: %s", source, ", ".join(unknown))


def name_zeros(forces: np.ndarray | None, source: str | os.PathLike[str]) -> None:
    """Warn of frames whose forces are exactly zero throughout: some programs write that where there are none."""
    if forces is None or forces.ndim != 3:
        return
    zero = np.all(forces == 0, axis=(1, 2), keepdims=True).ravel()
    if zero.any():
        log.warning(
            "%s: the forces are exactly 0 in %d of %d frames: leave them out if they stand for absent labels",
            source, zero.sum(), len(zero),
        )  # fmt: skip


def length_unit(name: object, source: str | os.PathLike[str]) -> float:
    """The unit of length that a file names, in nm."""
    return _unit(_LENGTHS, name, f"length unit in {source}", "Ang, nm or bohr")


def energy_unit(name: object, source: str | os.PathLike[str]) -> float:
    """The unit of energy that a file names, in kJ/mol."""
    return _unit(_ENERGIES, name, f"energy unit in {source}", "eV, kcal/mol, kJ/mol or Ha")


def _unit(known: dict[str, float], name: object, what: str, examples: str) -> float:
    text = name.decode() if isinstance(name, bytes) else str(name)
    value = known.get(text.strip().lower())
    if value is None:
        raise ValueError(f"the {what} is {text!r}, which is not known here: give {examples}")
    return value
