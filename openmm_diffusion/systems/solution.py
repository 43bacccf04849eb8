"""All-atom systems that data come from: OpenMM System and random start of ions, water and a solute.

Water is SPC/E, the ions are those of amber14/spce.xml (see `ions`), a solute has the force field that is named.
"""

import math

import numpy as np
from openmm import NonbondedForce, app, unit
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from .composition import GenerateConfig
from .ions import check_neutral

__all__ = ["GenerateConfig", "build_system", "place_molecules"]

#: SPC/E water: bond in nm, angle in rad (the tetrahedral one): Berendsen et al., J. Phys. Chem. 91, 6269 (1987).
OH_BOND, HOH_ANGLE = 0.1, math.acos(-1 / 3)
#: Largest displacement of a molecule from its lattice site in the random start, nm per component.
JITTER = 0.02
#: Distance of lattice sites from atoms of a solute in the random start, nm: the minimiser does the rest.
CLEARANCE = 0.24
#: A charged solute of fewer atoms has a volume in water that its mass does not tell.
SMALL = 100
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
    _check_room(config)
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
    for one, other in topology.bonds():
        heavy = one if other.element == app.element.hydrogen else other
        left = system.getParticleMass(heavy.index).value_in_unit(unit.dalton)
        if heavy.element != app.element.hydrogen and left < config.hydrogen_mass:
            raise ValueError(
                f"hydrogen_mass is {config.hydrogen_mass:g} amu, which leaves {left:.2f} amu to {heavy.name} of "
                f"{heavy.residue.name}, less than to its hydrogens: give 3 amu or less"
            )
    if config.solute is not None and config.periodic:
        check_neutral(_charge(system, range(system.getNumParticles())), "solute and ions")
        _check_volume(config, system)
    return topology, system


def _topology(config):
    topology = app.Topology()
    if config.periodic:
        topology.setPeriodicBoxVectors(config.edge * np.eye(3))
    for _ in range(config.copies if config.solute is not None else 0):
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


def _charge(system, atoms):
    """Net charge of some atoms of a System in e, a whole number up to the rounding of its force field."""
    nonbonded = next(force for force in system.getForces() if isinstance(force, NonbondedForce))
    charges = [nonbonded.getParticleParameters(index)[0] for index in atoms]
    return round(sum(charge.value_in_unit(unit.elementary_charge) for charge in charges))


def _check_volume(config, system):
    """Refuse to guess the volume of a small ion: charges draw water together, by as much as the ion takes up."""
    if config.waters is not None or config.solute_volume is not None:
        return
    charge = _charge(system, range(config.molecule.topology.getNumAtoms()))
    if charge and config.molecule.topology.getNumAtoms() < SMALL:
        raise ValueError(
            f"solute is a small ion of charge {charge:+d} e, and its volume in water is not known: give solute_volume, "
            "its partial molar volume in L/mol, or waters, the number of water molecules"
        )


def place_molecules(config, rng):
    """Random start: molecules dealt out to the sites of a jittered lattice, waters turned at random.

    A solute keeps the conformation of its file, its middle in that of the box; several
    copies are turned at random and dealt out to the cells of a coarser lattice.  Sites
    closer to a solute than 0.24 nm are left out, and the lattice is as fine as it must be.

    Parameters
    ----------
    config : GenerateConfig
    rng : numpy.random.Generator

    Returns
    -------
    array, shape (n_atoms, 3), nm
        In the order of `build_system`.
    """
    solute = _solute_positions(config, rng)
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


def _check_room(config):
    """Refuse a solute that does not fit into its share of the box, with some water around."""
    if config.solute is None or not config.periodic:
        return
    per_edge = _cells(config)
    # Several may be turned any way.
    length = np.ptp(_solute(config), axis=0).max() if config.copies == 1 else 2 * _radius(config)
    needed = per_edge * (length + (2 * MARGIN if config.copies == 1 else CLEARANCE))
    if needed > config.edge:
        raise ValueError(
            f"edge is {config.edge:g} nm, without room for {config.copies} solute(s), {length:.3g} nm long, and water "
            f"around: give an edge of at least {np.ceil(100 * needed) / 100:g} nm"
        )


def _solute(config):
    """Positions of one solute as its file has them, (n, 3) nm, its middle at the origin."""
    positions = np.array(config.molecule.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    return positions - (positions.min(0) + positions.max(0)) / 2


def _radius(config):
    return np.linalg.norm(_solute(config), axis=1).max()


def _cells(config):
    """Cells along each edge, one for each copy of the solute at least."""
    return math.ceil(round(config.copies ** (1 / 3), 9))


def _solute_positions(config, rng):
    """Positions of all solutes, (n, 3) nm: one in the middle, of the box or at the origin; several anywhere."""
    if config.solute is None:
        return np.empty((0, 3))
    one = _solute(config)
    if not config.periodic:
        return one
    if config.copies == 1:
        return one + config.edge / 2
    per_edge = _cells(config)
    cells = np.stack(np.unravel_index(rng.permutation(per_edge**3)[: config.copies], (per_edge,) * 3), axis=-1)
    turned = Rotation.from_quat(rng.normal(size=(config.copies, 4))).as_matrix() @ one.T
    middles = (cells + 0.5) * config.edge / per_edge
    return (turned.transpose(0, 2, 1) + middles[:, None]).reshape(-1, 3)


def _free_sites(per_edge, edge, solute):
    """Sites of a cubic lattice, (n, 3) nm, without those on the solute."""
    cells = np.stack(np.unravel_index(np.arange(per_edge**3), (per_edge,) * 3), axis=-1)
    sites = (cells + 0.5) * edge / per_edge
    if not len(solute):
        return sites
    distances, _ = cKDTree(solute % edge, boxsize=edge).query(sites)
    return sites[distances > CLEARANCE]
