"""Topologies of coarse-grained particles in a periodic box, and random places for them."""

from collections.abc import Mapping

import numpy as np
import torch
from openmm import app, unit

from ..model.denoiser import Denoiser
from ..particles import atomic_number, check_topology, topology_of
from ..space.boxes import minimum_image
from ..units import MOLAR, MOST, count, molar, nanometers, shown

#: Edge of the largest box, nm: 10 micrometres.
LARGEST = 1e4


def replicated(topology, replicas):
    """The topology of several copies in one box, one chain each, in the order of `create_system`."""
    check_topology(topology)
    copies, replicas = app.Topology(), count(replicas, "replicas", at_most=MOST)
    for _ in range(replicas):
        chain, atoms = copies.addChain(), []
        for residue in topology.residues():
            copy = copies.addResidue(residue.name, chain)
            for atom in residue.atoms():
                atoms.append(copies.addAtom(atom.name, atom.element, copy))
        for first, second in topology.bonds():
            copies.addBond(atoms[first.index], atoms[second.index])
    if topology.getPeriodicBoxVectors() is not None:
        copies.setPeriodicBoxVectors(topology.getPeriodicBoxVectors())
    return copies


def electrolyte(composition, *, edge=None, molarity=None, beads=None):
    """Topology of ions, or of other particles without bonds, in a cubic box.

    Parameters
    ----------
    composition : dict of str to int
        Number of each element: {"Li": 24, "Cl": 24}.
    edge : float or Quantity, nm
        Edge of the box; or
    molarity : float or Quantity, mol/L
        Concentration of the salt, which is that of the least frequent element.
    beads : dict of str to int, optional
        Types that `composition` may name beside elements, and their atomic numbers, 0 for none.

    Returns
    -------
    openmm.app.Topology

    Raises
    ------
    ValueError
        Unless exactly one of `edge` and `molarity` is given.
    """
    if (edge is None) == (molarity is None):
        raise ValueError("give either edge (nm) or molarity (mol/L): exactly one of them fixes the box")
    if not isinstance(composition, Mapping) or not composition:
        raise ValueError(
            f"composition is {shown(composition)}: give a positive number of each element, such as "
            "{'Li': 24, 'Cl': 24}"
        )
    composition = {kind: count(n, f"composition of {shown(kind)}", at_most=MOST) for kind, n in composition.items()}
    if sum(composition.values()) > MOST:
        raise ValueError(f"composition has {sum(composition.values())} particles: give {MOST} at most")
    if edge is None:
        edge = (min(composition.values()) / (molar(molarity, "molarity") * MOLAR)) ** (1 / 3)
    edge = nanometers(edge, "edge", above=0, at_most=LARGEST)
    for kind in composition:
        if not isinstance(kind, str) or not atomic_number(kind) and kind not in (beads or {}):
            known = f", or types of the model: {', '.join(beads)}" if beads else ""
            raise ValueError(
                f"composition names {shown(kind)}, which is no element: use symbols such as Li and Cl{known}"
            )
    types = [kind for kind, number in composition.items() for _ in range(int(number))]
    topology = topology_of(types, [(beads or {}).get(kind, atomic_number(kind)) for kind in types])
    topology.setPeriodicBoxVectors(np.eye(3) * edge * unit.nanometer)
    return topology


def training_topology(model):
    """Topology of the composition, bonds and box that a model (path, name or Denoiser) was trained on.

    Particles without bonds are grouped by type; with bonds they keep the order of the training data.
    """
    header = (model if isinstance(model, Denoiser) else Denoiser.load(model)).header
    if header.bonds:
        numbers = [header.atomic_numbers[kind] for kind in header.particles]
        topology = topology_of(header.particles, numbers, header.bonds)
    elif header.box is None:
        raise ValueError("topology is missing: the model was trained without a box, so give one with its box")
    else:
        topology = topology_of(*_grouped(header))
    if header.box is not None:
        topology.setPeriodicBoxVectors(np.array(header.box) * unit.nanometer)
    return topology


def _grouped(header):
    """The particles of a header grouped by type, in the order of first appearance, and their atomic numbers."""
    types = sorted(header.particles, key=header.particles.index)
    return types, [header.atomic_numbers[kind] for kind in types]


def topology_like(denoiser, composition=None, *, edge=None, molarity=None):
    """Topology in which what is not given is as in a model's training data.

    A box of other particles has the shape of that of the training data, one with an `edge` is a cube.  Particles with
    bonds are those of the training data.

    Parameters
    ----------
    denoiser : Denoiser
    composition : dict of str to int, optional
        Number of each type; None: that of the training data.
    edge, molarity : float, nm or mol/L, optional
        One of them fixes the box or its volume; with neither, the density of particles is that of the training data.

    Returns
    -------
    openmm.app.Topology
    """
    header = denoiser.header
    names = header.particles
    if header.bonds:
        if composition or molarity is not None:
            given = "molarity" if composition is None else "composition"
            raise ValueError(f"{given} is given, but the model's particles have bonds: leave it out")
        topology = training_topology(denoiser)
        if edge is not None:
            topology.setPeriodicBoxVectors(
                nanometers(edge, "edge", above=0, at_most=LARGEST) * np.eye(3) * unit.nanometer
            )
        return topology
    if header.box is None and composition is None and edge is None and molarity is None:
        return topology_of(*_grouped(header))
    if composition is None and edge is None and molarity is None:
        box = np.array(header.box)
        if not np.allclose(box, box[0, 0] * np.eye(3)):
            return training_topology(denoiser)
    composition = composition or {s: names.count(s) for s in dict.fromkeys(names)}
    cube = edge is not None
    if edge is None and molarity is None:
        if header.box is None:
            raise ValueError("edge is missing: the model was trained without a box, so give the edge of one in nm")
        volume = float(np.linalg.det(np.array(header.box)))
        edge = (volume * sum(composition.values()) / len(header.particles)) ** (1 / 3)
    beads = {} if header.elemental else header.atomic_numbers
    topology = electrolyte(composition, edge=edge, molarity=molarity, beads=beads)
    if not cube and header.box is not None and not np.allclose(header.box, header.box[0][0] * np.eye(3)):
        volume = topology.getUnitCellDimensions()[0].value_in_unit(unit.nanometer) ** 3
        scale = (volume / float(np.linalg.det(np.array(header.box)))) ** (1 / 3)
        topology.setPeriodicBoxVectors(scale * np.array(header.box) * unit.nanometer)
    return topology


def random_positions(model, topology, seed=0, attempts=20000):
    """Random places for all particles, no pair closer than 0.02 nm beyond the data's shortest distance.

    Pairs of like charge, for which the data may hold no short distance, are kept
    apart by the distances of the data too.

    Parameters
    ----------
    model : path or Denoiser
    topology : openmm.app.Topology
    seed : int
    attempts : int
        Tries per particle.

    Returns
    -------
    array, shape (n_particles, 3), nm
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    seed, attempts = count(seed, "seed", at_least=0), count(attempts, "attempts")
    index = denoiser.species_index(denoiser.types_of(topology)).numpy()
    if denoiser.header.bonds or next(topology.bonds(), None) is not None:
        raise ValueError("topology or model has bonds, which random places would break: give positions (nm)")
    if topology.getPeriodicBoxVectors() is None:
        raise ValueError("topology has no periodic box vectors: set them (nm), so that there is a box to fill")
    apart = np.array([[d or 0.3 for d in row] for row in denoiser.header.shortest_distances]) + 0.02
    box = torch.tensor(np.array(topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer), dtype=float))
    rng = np.random.default_rng(seed)
    placed = np.zeros((len(index), 3))
    for i in range(len(index)):
        for _ in range(attempts):
            trial = rng.random(3) @ box.numpy()
            vectors = minimum_image(torch.as_tensor(placed[:i] - trial), box)
            if i == 0 or bool((vectors.norm(dim=1).numpy() > apart[index[i], index[:i]]).all()):
                placed[i] = trial
                break
        else:
            raise ValueError(
                f"no room for particle {i} of {len(index)} in the box: use a larger box or fewer particles"
            )
    return placed
