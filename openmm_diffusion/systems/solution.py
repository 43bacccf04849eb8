"""All-atom systems that data come from: OpenMM System and random start of ions, water and a solute.

Water is SPC/E, the ions are those of amber14/spce.xml (see `ions`), a solute has the force field that is named.
"""

import math

import numpy as np
from openmm import NonbondedForce, app, unit

from .composition import GenerateConfig
from .ions import check_neutral

__all__ = ["GenerateConfig", "build_system", "place_molecules"]

#: SPC/E water: bond in nm, angle in rad (the tetrahedral one): Berendsen et al., J. Phys. Chem. 91, 6269 (1987).
OH_BOND, HOH_ANGLE = 0.1, math.acos(-1 / 3)
#: Largest displacement of a molecule from its lattice site in the random start, nm per component.
JITTER = 0.02
#: Distance of lattice sites from atoms of a solute in the random start, nm: the minimiser does the rest.
CLEARANCE = 0.24
#: Room around a solute, nm on each side: less, and it would meet its own periodic image.
MARGIN = 0.3

#: Force fields that a solvent adds to that of the solute.
SOLVENTS = {"spce": ["amber14/spce.xml"], "obc2": ["implicit/obc2.xml"], "none": []}


def build_system(config):
    """Topology (solute, ions, waters, in this order) and OpenMM System of a GenerateConfig.

    Raises
    ------
    ValueError
        If the solute does not fit its force field or the box, or the whole is not neutral.
    """
    _solute_positions(config)  # refused now if it has no room
    topology = _topology(config)
    names = [*(config.forcefield if config.solute else []), *SOLVENTS[config.solvent]]
    try:
        system = app.ForceField(*dict.fromkeys(names)).createSystem(
            topology,
            nonbondedMethod=app.PME if config.periodic else app.NoCutoff,
            nonbondedCutoff=config.cutoff,
            constraints=app.HBonds if config.constraints == "hbonds" else None,
            rigidWater=True,
            removeCMMotion=False,
        )
    except ValueError as error:
        if config.solute is None:
            raise
        raise ValueError(
            f"forcefield is {', '.join(names)}, which does not describe solute {config.solute} ({error}): name the "
            "force field of this molecule, and give it with all hydrogens (openmm.app.Modeller.addHydrogens adds them)"
        ) from error
    # By hand: createSystem(hydrogenMass=...) leaves rigid waters as they are.
    for one, other in topology.bonds():
        for heavy, hydrogen in ((one, other), (other, one)):
            if hydrogen.element == app.element.hydrogen != heavy.element:
                moved = config.hydrogen_mass * unit.dalton - system.getParticleMass(hydrogen.index)
                system.setParticleMass(hydrogen.index, system.getParticleMass(hydrogen.index) + moved)
                system.setParticleMass(heavy.index, system.getParticleMass(heavy.index) - moved)
    if config.solute is not None and config.periodic:
        check_neutral(_charge(system), "solute and ions")
    return topology, system


def _topology(config):
    topology = app.Topology()
    if config.periodic:
        topology.setPeriodicBoxVectors(config.edge * np.eye(3))
    if config.solute is not None:
        _copy(config.molecule.topology, topology)
    chain = topology.addChain() if config.periodic else None
    for symbol, count in config.composition.items():
        for _ in range(count):
            topology.addAtom(symbol, app.Element.getBySymbol(symbol), topology.addResidue(symbol.upper(), chain))
    for _ in range(config.n_waters):
        residue = topology.addResidue("HOH", chain)
        oxygen = topology.addAtom("O", app.element.oxygen, residue)
        for name in ("H1", "H2"):
            topology.addBond(oxygen, topology.addAtom(name, app.element.hydrogen, residue))
    return topology


def _copy(source, target):
    """Add the chains, residues, atoms and bonds of a topology to another one."""
    atoms = {}
    for chain in source.chains():
        new_chain = target.addChain(chain.id)
        for residue in chain.residues():
            new_residue = target.addResidue(residue.name, new_chain, residue.id, residue.insertionCode)
            for atom in residue.atoms():
                atoms[atom] = target.addAtom(atom.name, atom.element, new_residue, atom.id)
    for bond in source.bonds():
        target.addBond(atoms[bond[0]], atoms[bond[1]], bond.type, bond.order)


def _charge(system):
    """Net charge of a System in e, a whole number up to the rounding of its force field."""
    nonbonded = next(force for force in system.getForces() if isinstance(force, NonbondedForce))
    charges = [nonbonded.getParticleParameters(index)[0] for index in range(nonbonded.getNumParticles())]
    return round(sum(charge.value_in_unit(unit.elementary_charge) for charge in charges))


def place_molecules(config, rng):
    """Random start: molecules dealt out to the sites of a jittered lattice, waters turned at random.

    A solute keeps the conformation of its file, its middle in that of the box; sites
    closer to it than 0.24 nm are left out, and the lattice is as fine as it must be.

    Parameters
    ----------
    config : GenerateConfig
    rng : numpy.random.Generator

    Returns
    -------
    array, shape (n_atoms, 3), nm
        In the order of `build_system`.
    """
    solute = _solute_positions(config)
    if not config.periodic:
        return solute
    n_ions = sum(config.composition.values())
    n_molecules = n_ions + config.n_waters
    per_edge = math.ceil(n_molecules ** (1 / 3))
    while len(free := _free_sites(per_edge, config.edge, solute)) < n_molecules:
        per_edge += 1
    sites = free[rng.permutation(len(free))[:n_molecules]]
    sites += rng.uniform(-JITTER, JITTER, sites.shape)
    ions, oxygens = sites[:n_ions], sites[n_ions:]
    # Two random orthonormal vectors: the water's axis, and across it from hydrogen to hydrogen.
    axis, across = rng.normal(size=(2, *oxygens.shape))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    across -= (across * axis).sum(-1, keepdims=True) * axis
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    up, out = OH_BOND * math.cos(HOH_ANGLE / 2) * axis, OH_BOND * math.sin(HOH_ANGLE / 2) * across
    waters = np.stack([oxygens, oxygens + up + out, oxygens + up - out], axis=1)
    return np.concatenate([solute, ions, waters.reshape(-1, 3)])


def _solute_positions(config):
    """Positions of the solute, (n, 3) nm, its middle in that of the box (at the origin without one)."""
    if config.solute is None:
        return np.empty((0, 3))
    positions = np.array(config.molecule.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    low, high = positions.min(0), positions.max(0)
    length = (high - low).max()
    if config.periodic and length + 2 * MARGIN > config.edge:
        raise ValueError(
            f"edge is {config.edge:g} nm, and solute is {length:.3g} nm long, without room for water around it: "
            f"give an edge of at least {length + 2 * MARGIN:.3g} nm"
        )
    return positions - (low + high) / 2 + (config.edge / 2 if config.periodic else 0.0)


def _free_sites(per_edge, edge, solute):
    """Sites of a cubic lattice, (n, 3) nm, without those on the solute."""
    cells = np.stack(np.unravel_index(np.arange(per_edge**3), (per_edge,) * 3), axis=-1)
    sites = (cells + 0.5) * edge / per_edge
    for atom in solute:
        vectors = sites - atom
        vectors -= edge * np.round(vectors / edge)
        sites = sites[(vectors**2).sum(-1) > CLEARANCE**2]
    return sites
