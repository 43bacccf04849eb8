"""Contacts: partners of another element on configurations made by hand, and mdtraj's distances."""

import mdtraj
import numpy as np
import pytest

from openmm_diffusion import Frames
from openmm_diffusion.analysis.contacts import contacts, in_contact

LI, CL, EDGE = 3, 17, 2.0


def test_contact_is_a_near_partner_of_another_element():
    x = [
        [0.05, 1.0, 1.0],  # Li, 0.25 nm from the first Cl, across the boundary
        [0.05, 1.2, 1.0],  # Li, nearer than that to a Li, too far from any Cl
        [1.80, 1.0, 1.0],  # Cl
        [1.00, 0.2, 0.2],  # Cl, alone
    ]
    apart = np.array(x) + [[0, 0, 0], [0, 0, 0], [-0.2, 0, 0], [0, 0, 0]]
    frames = Frames(np.array([x, apart]), [LI, LI, CL, CL], EDGE * np.eye(3), 300)
    contact = in_contact(frames, {"Li-Li": 0.5, "Li-Cl": 0.3})
    assert contact.tolist() == [[True, False, True, False], [False] * 4]
    assert in_contact(frames, {"Li-Cl": 0.24}).sum() == 0
    # The order of the elements in the file does not matter.
    turned = Frames(frames.positions[:, ::-1], [CL, CL, LI, LI], frames.box, 300)
    assert (in_contact(turned, {"Li-Cl": 0.3}) == contact[:, ::-1]).all()


@pytest.mark.parametrize("box", [2.0 * np.eye(3), np.array([[2.0, 0, 0], [-0.9, 1.9, 0], [0.8, 0.9, 1.8]])])
def test_contacts_are_those_of_mdtrajs_distances(box):
    rng = np.random.default_rng(4)
    positions = rng.random((40, 12, 3)) @ box
    pairs = np.array([(i, j) for i in range(6) for j in range(6, 12)])
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(12):
        topology.add_atom("LI", mdtraj.element.lithium, topology.add_residue("LI", chain))
    trajectory = mdtraj.Trajectory(positions, topology)
    trajectory.unitcell_vectors = np.broadcast_to(box, (40, 3, 3))
    expected = mdtraj.compute_distances(trajectory, pairs) < 0.6
    found = contacts(positions, box, pairs, 0.6)
    assert (found == expected).all() and 100 < found.sum() < found.size / 2
    moved = positions + rng.integers(-2, 3, size=(12, 3)) @ box + np.array([0.3, -0.7, 1.1])
    assert (contacts(moved, box, pairs, 0.6) == found).all()
    with pytest.raises(ValueError, match="cutoff is 1.2 nm"):
        contacts(positions, box, pairs, 1.2)
