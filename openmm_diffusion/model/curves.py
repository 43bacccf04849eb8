"""The learnt sums over pairs of a model as curves."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas
import torch

from ..space.batch import make_batch
from .combination import merged
from .sum import total_force

if TYPE_CHECKING:
    from .denoiser import Denoiser

#: Distance (nm) of the points of a curve whose energy names none.
STEP = 0.005


def pair_curves(denoiser: "Denoiser") -> pandas.DataFrame:
    """The learnt pair potential of a model as a table.

    A cubic spline through the points of a `SplinePair` is the potential itself, and a straight line below its
    first knot.

    Parameters
    ----------
    denoiser : Denoiser
        Those of its learnt terms that are sums over pairs are added up.

    Returns
    -------
    DataFrame
        Columns pair ("A-B"), r_nm, u_kJ/mol and force_kJ/mol/nm, which is -du/dr: positive
        where the pair repels.
    """
    part = merged(denoiser).part(lambda term: term.learnt and term.joins)
    r = max((_points(module) for module in part.modules()), key=len)
    names = denoiser.header.species
    tables = []
    for a, b in zip(*np.triu_indices(len(names))):
        u, force = two_particles(part, int(a), int(b), r)
        tables.append(
            pandas.DataFrame({"pair": f"{names[a]}-{names[b]}", "r_nm": r, "u_kJ/mol": u, "force_kJ/mol/nm": force})
        )
    return pandas.concat(tables, ignore_index=True)


def bonded_curves(denoiser: "Denoiser") -> pandas.DataFrame:
    """The energies of bonds, angles and dihedrals of a model as a table, each with its least value at zero.

    Parameters
    ----------
    denoiser : Denoiser

    Returns
    -------
    DataFrame
        Columns energy (the kind of its term), types ("C-N-CA"), axis ("r_nm", "theta_degree" or "phi_degree"),
        value (of the axis) and u_kJ/mol; no rows where nothing is bonded.  Maps of two dihedrals are no curves.
    """
    parts: dict[tuple[str, str, str], list[Any]] = {}
    for term, module in zip(denoiser.header.terms, denoiser.modules()):
        if term.bonded and term.axis is not None:
            for number, types in enumerate(term.kinds):
                parts.setdefault((term.kind, "-".join(types), term.axis), []).append((term, module, number))
    tables = []
    for (kind, types, axis), own in parts.items():  # of several models in a sum, one after the other
        q = own[0][0].points(*own[0][1:])
        u = sum(term.weight * term.curve(module, number, q) for term, module, number in own)
        rows = {"energy": kind, "types": types, "axis": axis, "value": q, "u_kJ/mol": u - u.min()}
        tables.append(pandas.DataFrame(rows))
    columns = ["energy", "types", "axis", "value", "u_kJ/mol"]
    return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame(columns=columns)


def _points(module: Any) -> np.ndarray:
    """Distances (nm) at which a module's curve should be known."""
    if hasattr(module, "points"):
        return module.points()
    return STEP * np.arange(1, round(module.cutoff / STEP) + 1)


def two_particles(denoiser: "Denoiser", a: int, b: int, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy (kJ/mol) and repulsion (kJ/mol/nm) of two particles of species a and b, at distances r (nm)."""
    y = torch.zeros(len(r), 2, 3, dtype=torch.float64)
    y[:, 1, 0] = torch.as_tensor(r)
    y.requires_grad_(True)
    batch = make_batch(y, None, torch.tensor([a, b]), denoiser.model.cutoff)
    energy, direct = denoiser.model.double().total(batch)
    return energy.detach().numpy(), total_force(energy, direct, y)[:, 1, 0].detach().numpy()
