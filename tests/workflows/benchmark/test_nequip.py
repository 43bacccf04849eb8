"""Deployed NequIP files in OpenMM: a toy module of their signature against its closed form, and what is refused."""

from typing import Dict

import numpy as np
import openmm
import pytest
import torch
from openmm import XmlSerializer, app, unit
from torch import Tensor, nn

from openmm_diffusion.workflows.benchmark.nequip import nequip_force

pytestmark = pytest.mark.slow

#: Springs between all neighbours, eV/A^2, by type: type_names are in another order than the topology's elements.
STIFFNESS = [[0.1, 0.3], [0.3, 0.7]]
TYPES, R_MAX = "Cl Li", 6.0  # A
#: Written out, not imported: kJ/mol of an eV, and A of a nm.
EV, PER_NM = 96.48533212331, 10.0
CUBE = 2.0 * np.eye(3)
SKEWED = np.array([[2.0, 0, 0], [0.5, 1.8, 0], [-0.6, 0.7, 1.7]])


class ToyNequIP(nn.Module):
    """E = 1/2 sum over edges k_ij/2 (r - r_max)^2, with NequIP's own dict of tensors."""

    def __init__(self, dtype):
        super().__init__()
        self.register_buffer("stiffness", torch.tensor(STIFFNESS, dtype=dtype))

    def forward(self, data: Dict[str, Tensor]) -> Dict[str, Tensor]:
        pos = data["pos"].detach().requires_grad_(True)
        edges, types = data["edge_index"], data["atom_types"]
        vectors = pos[edges[1]] - pos[edges[0]] + data["edge_cell_shift"] @ data["cell"]
        r = torch.sqrt((vectors * vectors).sum(-1))
        k = self.stiffness[types[edges[0]], types[edges[1]]]
        energy = 0.25 * (k * (r - 6.0) ** 2).sum()
        gradient = torch.autograd.grad([energy], [pos])[0]
        assert gradient is not None
        return {"total_energy": energy.detach().reshape(1, 1), "forces": -gradient}


def deployed(path, dtype=torch.float64, **metadata):
    torch.jit.save(torch.jit.script(ToyNequIP(dtype).eval()), str(path), _extra_files=metadata)
    return path


def topology_of(symbols, box):
    topology = app.Topology()
    chain = topology.addChain()
    for symbol in symbols:
        topology.addAtom(symbol, app.Element.getBySymbol(symbol), topology.addResidue(symbol, chain))
    if box is not None:
        topology.setPeriodicBoxVectors(box * unit.nanometer)
    return topology


def closed_form(positions, symbols, box):
    """Energy (kJ/mol) and forces (kJ/mol/nm) by a loop over pairs and all images in reach."""
    images = [np.zeros(3)]
    if box is not None:
        images = [
            np.array([i, j, k]) @ box for i in (-2, -1, 0, 1, 2) for j in (-2, -1, 0, 1, 2) for k in (-2, -1, 0, 1, 2)
        ]
    names = TYPES.split()
    energy, forces = 0.0, np.zeros_like(positions)
    for i in range(len(symbols)):
        for j in range(i):
            k = STIFFNESS[names.index(symbols[i])][names.index(symbols[j])]  # eV/A^2
            for image in images:
                vector = PER_NM * (positions[j] - positions[i] + image)  # A
                r = np.linalg.norm(vector)
                if r < R_MAX:
                    energy += 0.5 * k * (r - R_MAX) ** 2 * EV
                    pull = k * (r - R_MAX) * vector / r * EV * PER_NM
                    forces[i] += pull
                    forces[j] -= pull
    return energy, forces


def evaluated(force, positions, box):
    system = openmm.System()
    for _ in positions:
        system.addParticle(1.0)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    state = context.getState(getEnergy=True, getForces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


@pytest.mark.parametrize("box", [None, CUBE, SKEWED], ids=["open", "cube", "skewed"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
def test_energy_and_forces_are_those_of_the_closed_form(tmp_path, box, dtype, tolerance):
    rng = np.random.default_rng(0)
    symbols = list(rng.permutation(["Li"] * 7 + ["Cl"] * 5))
    inside = rng.random((12, 3)) @ (np.eye(3) if box is None else box)
    energy, forces = closed_form(inside, symbols, box)
    path = deployed(tmp_path / "toy.pth", dtype, r_max=str(R_MAX), type_names=TYPES)
    force = nequip_force(path, topology_of(symbols, box))
    # Far images are the same configuration.
    shifted = inside if box is None else inside + rng.integers(-3, 4, (12, 3)) @ box
    # Through XML too: what is kept is the file itself.
    for one in (force, XmlSerializer.deserialize(XmlSerializer.serialize(force))):
        got_energy, got_forces = evaluated(one, shifted, box)
        assert abs(got_energy / energy - 1) < tolerance
        assert np.abs(got_forces - forces).max() < tolerance * np.abs(forces).max()


def test_periodicity_is_that_of_the_topology(tmp_path):
    path = deployed(tmp_path / "toy.pth", r_max=str(R_MAX), type_names=TYPES)
    assert nequip_force(path, topology_of(["Li"], CUBE)).usesPeriodicBoundaryConditions()
    assert not nequip_force(path, topology_of(["Li"], None)).usesPeriodicBoundaryConditions()


def test_other_files_are_refused_in_one_sentence(tmp_path):
    topology = topology_of(["Li", "Cl"], CUBE)
    with pytest.raises(FileNotFoundError, match="no NequIP file .*nowhere.pth"):
        nequip_force(tmp_path / "nowhere.pth", topology)
    text = tmp_path / "text.pth"
    text.write_text("no zip file")
    with pytest.raises(ValueError, match="text.pth is not a TorchScript file: give a model written by nequip-deploy"):
        nequip_force(text, topology)
    with pytest.raises(ValueError, match="bare.pth is TorchScript without r_max"):
        nequip_force(deployed(tmp_path / "bare.pth"), topology)
    with pytest.raises(ValueError, match="knows the types none, not Cl, Li"):
        nequip_force(deployed(tmp_path / "untyped.pth", r_max="6.0"), topology)
    with pytest.raises(ValueError, match="knows the types Na, Cl, not Li"):
        nequip_force(deployed(tmp_path / "salt.pth", r_max="6.0", type_names="Na Cl"), topology)
    with pytest.raises(ValueError, match=r"r_max of .*wide.pth is 1.2 nm, over half the box \(1 nm\)"):
        nequip_force(deployed(tmp_path / "wide.pth", r_max="12.0", type_names=TYPES), topology)
