"""Umbrella sampling: a harmonic bias on the distance of two kept particles, and its forces on what is kept.

A run in a window samples p(x) exp(-V_b(r)/kT), V_b = k (r - c)^2 / 2.  As r is a distance of two particles that are
kept, the density of what is kept has the same factor, and the bias changes the potential of mean force W(R) to
W(R) + V_b(r), whatever is averaged over, rigid bonds included.  So -grad V_b with respect to the kept positions is all
that a fit has to know of the bias, and the force labels, which leave it out, are those of W alone.  It follows from
the positions of a frame, and nothing of it has to be saved in a run.
"""

import numpy as np
import openmm

#: The force group of the bias, which labels leave out; force fields use the first ones.
BIAS_GROUP = 31
#: Groups of all other forces.
OTHER_GROUPS = set(range(BIAS_GROUP))
#: Largest angle (rad) by which the biased distance may oscillate in a step; 2 is where leap-frog breaks.
LARGEST_ANGLE = 0.5
STIFFNESS, CENTRE = "bias_stiffness", "bias_centre"


class Umbrella:
    """The bias of a GenerateConfig in its System, which gets one more force.

    Parameters
    ----------
    config : GenerateConfig
        With a `bias`.
    kept : Kept
    system : openmm.System
        Gets a CustomBondForce in the group `BIAS_GROUP`, with the window as parameters of the Context.

    Raises
    ------
    ValueError
        If a particle is not kept or lies at several atoms, rigid bonds hold the distance, or a window is too stiff
        for the time step.
    """

    def __init__(self, config, kept, system):
        self._edge = config.edge if config.periodic else None
        self._windows = config.bias.windows
        self._pair = [_number(kind, number, kept) for kind, number in config.bias.between]
        atoms = [kept.atom(number) for number in self._pair]
        if None in atoms:
            kind, number = config.bias.between[atoms.index(None)]
            raise ValueError(
                f"bias.between names {kind} {number}, a bead that lies at the centre of several atoms: bias beads that "
                "lie at one atom (at: its name)"
            )
        if kept.rigid(*atoms):
            names = " and ".join(f"{kind} {number}" for kind, number in config.bias.between)
            raise ValueError(f"bias.between names {names}, whose distance rigid bonds hold: bias another distance")
        _check_stiffness(config, system, atoms)
        force = openmm.CustomBondForce(f"0.5*{STIFFNESS}*(r-{CENTRE})^2")
        force.addGlobalParameter(STIFFNESS, 0.0)
        force.addGlobalParameter(CENTRE, 0.0)
        force.addBond(*atoms)
        force.setUsesPeriodicBoundaryConditions(config.periodic)
        force.setForceGroup(BIAS_GROUP)
        system.addForce(force)

    def parameters(self, run):
        """Parameters of the Context of a run, by name: those of its window."""
        window = self._windows[run % len(self._windows)]
        return {STIFFNESS: window.stiffness, CENTRE: window.centre}

    def forces(self, positions, run):
        """Forces of the bias on what is kept, -grad V_b.

        Parameters
        ----------
        positions : array, shape (n_frames, n_kept, 3), nm
            Wrapped or not.
        run : int

        Returns
        -------
        array, shape (n_frames, n_kept, 3), kJ/mol/nm
        """
        window = self._windows[run % len(self._windows)]
        one, other = self._pair
        vectors = (positions[:, other] - positions[:, one]).astype(np.float64)
        if self._edge is not None:
            vectors -= self._edge * np.round(vectors / self._edge)
        distances = np.linalg.norm(vectors, axis=-1, keepdims=True)
        forces = np.zeros(positions.shape)
        forces[:, other] = -window.stiffness * (distances - window.centre) * vectors / distances
        forces[:, one] = -forces[:, other]
        return forces


def _number(kind, number, kept):
    """Where a particle, named by its type and its number among those of the type, stands among those that are kept."""
    of_kind = np.flatnonzero(kept.types == kind)
    if not len(of_kind):
        raise ValueError(
            f"bias.between names {kind} {number}, and no {kind} is kept: name one of "
            f"{', '.join(dict.fromkeys(kept.types.tolist()))}, or keep it"
        )
    if number >= len(of_kind):
        raise ValueError(
            f"bias.between names {kind} {number}, but {len(of_kind)} {kind} are kept, numbered from 0: "
            f"give at most {len(of_kind) - 1}"
        )
    return int(of_kind[number])


def _check_stiffness(config, system, atoms):
    """Refuse a window in which the distance oscillates too fast for the time step."""
    inverse = sum(1 / system.getParticleMass(atom)._value for atom in atoms)  # 1/amu
    largest = (LARGEST_ANGLE / config.timestep) ** 2 / inverse
    for number, window in enumerate(config.bias.windows):
        if window.stiffness > largest:
            raise ValueError(
                f"bias.windows.{number}.stiffness is {window.stiffness:g} kJ/mol/nm^2, too stiff for a timestep of "
                f"{config.timestep:g} ps: give at most {largest:.3g} kJ/mol/nm^2, or a shorter timestep"
            )
