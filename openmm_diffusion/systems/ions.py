"""Monoatomic ions in water: charges, and how many waters fill a box beside them.

The ions are those of OpenMM's amber14/spce.xml with one charge there: alkali and halide ions of Joung and Cheatham
(J. Phys. Chem. B 112, 9020 (2008)), cations of higher charge of Li, Merz and coworkers (J. Chem. Theory Comput. 9,
2733 (2013)), whose 12-6 form meets hydration free energies or distances, not both.  Anions of higher charge and
polyatomic ions are not among them: these come as a solute with a force field of their own.
"""

import math
from collections.abc import Mapping

from ..units import MOLAR, MOST

#: Charges in e, by element symbol.
CHARGES = {
    **dict.fromkeys(("Li", "Na", "K", "Rb", "Cs"), 1),
    **dict.fromkeys(("F", "Cl", "Br", "I"), -1),
    **dict.fromkeys(("Be", "Mg", "Ca", "Sr", "Ba", "Mn", "Co", "Ni", "Cu", "Zn", "Cd", "Hg", "Pb"), 2),
    **dict.fromkeys(("Al", "Y", "La", "Pr", "Nd", "Gd", "Tb", "Dy", "Lu"), 3),
}
#: Molar volume of water at 298 K, L/mol.
WATER_VOLUME = 0.01807
#: Conventional partial molar volumes at infinite dilution, 298 K, L/mol: Millero, Chem. Rev. 71, 147 (1971).
ION_VOLUME = {
    "Li": -0.00088, "Na": -0.00121, "K": 0.00902, "Rb": 0.01407, "Cs": 0.02134,
    "F": -0.00116, "Cl": 0.01783, "Br": 0.02471, "I": 0.03622,
    "Mg": -0.02117, "Ca": -0.01785, "Sr": -0.01816, "Ba": -0.01247,
    "Mn": -0.0177, "Co": -0.0240, "Ni": -0.0240, "Zn": -0.0216, "Cd": -0.0200,
}  # fmt: skip
#: Limiting slope of a 1:1 salt's apparent molar volume in the square root of its molarity, 298 K, (L/mol)^(3/2):
#: Redlich and Meyer, Chem. Rev. 64, 221 (1964).
VOLUME_SLOPE = 1.868e-3
#: Partial specific volume of a solute, L/g.  Proteins have 0.73 cm^3/g; small organic molecules 0.7 to 1.0, an error
#: below 0.3 % of the density for 1 % of solute by mass.  Small ions are far from it: sulfate has 0.15.
SPECIFIC_VOLUME = 0.73e-3


def check_ions(ions: Mapping[str, int]) -> None:
    """Refuse ions (element symbol to count) that the force field lacks, and counts that are none.

    Raises
    ------
    ValueError
    """
    for symbol, count in ions.items():
        if symbol not in CHARGES:
            raise ValueError(
                f"ions holds {symbol!r}, which is no monoatomic ion of one charge in amber14/spce.xml: use element "
                f"symbols of {', '.join(CHARGES)}; it has no anion beyond 1-, and polyatomic ions (sulfate, nitrate, "
                "ammonium ...) come as a solute, a PDB file with a force field of their own"
            )
        if not 0 <= count <= MOST:
            raise ValueError(f"ions holds {count} of {symbol}: give a count of 0 to {MOST}")


def net_charge(ions: Mapping[str, int]) -> int:
    """Sum of the charges of ions (element symbol to count), e."""
    return sum(CHARGES[symbol] * count for symbol, count in ions.items())


def check_neutral(charge: int, what: str) -> None:
    """Refuse a periodic box with a net charge.

    Parameters
    ----------
    charge : int, e
    what : str
        What carries it, for the sentence: "ions".

    Raises
    ------
    ValueError
    """
    if charge:
        counter = "anions, such as Cl" if charge > 0 else "cations, such as Na"
        raise ValueError(
            f"{what} carry a net charge of {charge:+d} e, and a periodic box must be neutral: "
            f"add {abs(charge)} e of {counter}, to ions"
        )


def filling_waters(
    ions: Mapping[str, int], volume: float, solute_volume: float = 0.0, solute_squares: float = 0.0
) -> int:
    """Number of waters that fill a volume at the experimental density, 298 K and 1 bar.

    The volume that is left to water is::

        V_w = V - sum_i n_i v_i - k I^(3/2) V,   I = sum_i n_i z_i^2 / (2 V)

    with the partial molar volumes of ions and solute at infinite dilution, and the
    limiting law in the ionic strength I (for a 1:1 salt its molarity).  For 2.47 mol/L
    LiCl this gives an apparent molar volume of 19.9 cm^3/mol, where experiment has 19.3;
    at an ionic strength of 3 mol/L the limiting law overstates the volume of 2:1 salts
    (1 mol/kg CaCl2: by 0.4 % of the solution).

    Parameters
    ----------
    ions : mapping from str to int
        Count of each element symbol.
    volume : float, nm^3
    solute_volume : float, L/mol
        Partial molar volume of the solute, times its copies.
    solute_squares : float, e^2
        Square of its charge, times its copies: its part in the ionic strength.

    Returns
    -------
    int
        Not positive where there is no room for water.

    Raises
    ------
    ValueError
        If the partial molar volume of an ion is not known.
    """
    unknown = [symbol for symbol, count in ions.items() if count and symbol not in ION_VOLUME]
    if unknown:
        raise ValueError(
            f"ions holds {', '.join(unknown)}, whose partial molar volume in water is not tabulated here: "
            "give waters, the number of water molecules"
        )
    litres = volume * MOLAR  # of as many moles as there are molecules: molecules / litres is mol/L
    squares = sum(count * CHARGES[symbol] ** 2 for symbol, count in ions.items()) + solute_squares
    strength = squares / 2 / litres
    taken = sum(count * ION_VOLUME[symbol] for symbol, count in ions.items() if count) + solute_volume
    taken += VOLUME_SLOPE * strength * math.sqrt(strength) * litres
    return round((litres - taken) / WATER_VOLUME)
