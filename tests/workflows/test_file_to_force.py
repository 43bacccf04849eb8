"""From files as people have them to a force: Martini beads, a C-alpha chain, NPT runs in slanted boxes."""

import mdtraj
import numpy as np
import openmm
import pytest
from molecules import TRICLINIC, broken, water, whole_water
from openmm import app

from openmm_diffusion import Denoiser, DiffusionForce, Frames, coarsen, simulate, train
from openmm_diffusion.analysis.rdf import compute_rdf
from openmm_diffusion.systems.topologies import topology_like

CONFIG = {
    "data": {"test_fraction": 0, "validation_fraction": 0}, "network": None, "prior": {"wall": None},
    "pair": {"cutoff": 0.9, "start": 0.2, "spacing": 0.1, "sigma": 0, "penalties": [1.0, 100.0]},
}  # fmt: skip

#: A Martini lipid and what is around it; no letter of these names means an element.
MARTINI = [("DPPC", name) for name in ("NC3", "PO4", "GL1", "GL2", "C1A", "C4B")] * 4
MARTINI += [("W", "W")] * 12 + [("ION", "NA+")] * 4 + [("ION", "CL-")] * 4
CA = [(name, "CA") for name in "ALA GLY VAL LEU CYS HIS ALA GLY".split()]


def places(n, edge, frames, seed):
    """Jittered sites of a lattice (frames, n, 3), nm, kept to the 0.001 nm of a .gro or PDB file."""
    rng, side = np.random.default_rng(seed), int(np.ceil(n ** (1 / 3)))
    sites = np.array(np.unravel_index(rng.permutation(side**3)[:n], (side,) * 3)).T * edge / side
    return np.round(sites + rng.uniform(0, 0.6 * edge / side, (frames, n, 3)), 3).astype(np.float32)


def pdb(path, atoms, x, edge=None):
    """A PDB file that says nothing of elements."""
    lines = [] if edge is None else [f"CRYST1{10 * edge:9.3f}{10 * edge:9.3f}{10 * edge:9.3f}  90.00  90.00  90.00 P 1"]
    for i, ((residue, name), r) in enumerate(zip(atoms, 10 * x), 1):
        shown = f"{name:<4s}" if len(name) == 4 else f" {name:<3s}"
        place = "".join(f"{v:8.3f}" for v in r)
        lines.append(f"HETATM{i:5d} {shown} {residue:<4s}A{i:4d}    {place}  1.00  0.00")
    path.write_text("\n".join([*lines, "END", ""]))
    return path


def forces_in_openmm(model, topology, x, **options):
    system = openmm.System()
    for _ in range(len(x)):
        system.addParticle(1.0)
    if topology.getPeriodicBoxVectors() is not None:
        system.setDefaultPeriodicBoxVectors(*topology.getPeriodicBoxVectors())
    system.addForce(DiffusionForce(model, topology, backend="python", precision="double", **options))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(x.astype(float))
    return context.getState(getForces=True).getForces(asNumpy=True)._value


def trajectory(path, atoms, x, edge, top):
    run = mdtraj.Trajectory(x, mdtraj.load(str(top)).topology)
    if edge is not None:
        run.unitcell_vectors = np.tile(edge * np.eye(3, dtype=np.float32), (len(x), 1, 1))
    run.save(str(path))
    return path


@pytest.mark.parametrize(
    ("atoms", "types", "edge", "expected"),
    [
        (MARTINI, "name", 2.8, ["C1A", "C4B", "CL-", "GL1", "GL2", "NA+", "NC3", "PO4", "W"]),
        (CA, "residue:name", None, ["ALA:CA", "CYS:CA", "GLY:CA", "HIS:CA", "LEU:CA", "VAL:CA"]),
    ],
    ids=["martini", "c-alpha"],
)
def test_beads_keep_their_types_from_the_file_to_the_force(tmp_path, atoms, types, edge, expected):
    x = places(len(atoms), edge or 2.2, 12, seed=1)
    top = pdb(tmp_path / "top.pdb", atoms, x[0], edge)
    path = trajectory(tmp_path / "run.dcd", atoms, x, edge, top)
    frames = Frames.from_trajectory(path, top, temperature=310, types=types)
    assert sorted(set(frames.types)) == expected
    # Ions and C-alphas of standard residues are what their names say; no element is made up for a bead.
    elements = {"ION": {"NA+": 11, "CL-": 17}, "DPPC": {}, "W": {}}
    assert frames.species.tolist() == [elements.get(residue, {"CA": 6}).get(name, 0) for residue, name in atoms]
    train(frames, CONFIG, tmp_path / "run", progress=False)
    model = Denoiser.load(tmp_path / "run" / "model.safetensors")
    assert sorted(model.header.species) == expected
    reference = model.forces(frames.positions[0])
    assert np.abs(reference).max() > 1e-4  # little is learnt from 12 frames, but not nothing
    # OpenMM guesses elements for these names, which the force must not look at; the types may be said, or are found.
    structure = app.PDBFile(str(top))
    for options in ({}, {"types": types}, {"types": frames.types.tolist()}):
        found = forces_in_openmm(model, structure.topology, frames.positions[0], **options)
        # The trajectory holds the edge of the box in single precision.
        np.testing.assert_allclose(found, reference, atol=2e-5 * np.abs(reference).max())
    if edge is not None:
        curves = compute_rdf(frames, (0.2, 1.0)).g
        assert {"NA+-CL-", "CL--NA+"} & set(curves) and "W-W" in curves and "C1A-C4B" in curves
        assert not any(name in curves for name in ("C-C", "Na-Cl"))


def test_npt_runs_of_broken_waters_in_slanted_boxes(tmp_path):
    n, lengths = 40, (7, 4)
    runs, whole = [], []
    for number, length in enumerate(lengths):
        boxes = np.linspace(0.97, 1.02, length)[:, None, None] * TRICLINIC
        fractions = whole_water(length, n, 2.0, seed=number) / 2.0
        oxygen = fractions.reshape(length, n, 3, 3)[:, :, :1] @ boxes[:, None]
        x = oxygen + (fractions.reshape(length, n, 3, 3) - fractions.reshape(length, n, 3, 3)[:, :, :1]) * 2.0
        x = x.reshape(length, 3 * n, 3)
        whole.append(x)
        run = mdtraj.Trajectory(broken(x, boxes, seed=number).astype(np.float32), water(n))
        run.unitcell_vectors = boxes.astype(np.float32)
        runs.append(tmp_path / f"run-{number}.xtc")
        run.save(str(runs[-1]))
    mdtraj.Trajectory(whole[0][:1], water(n)).save(str(tmp_path / "top.pdb"))
    mapping = {"beads": [{"type": "W", "select": "water", "per": "residue", "at": "mass"}]}
    frames = coarsen(runs, tmp_path / "top.pdb", mapping, 300)
    assert np.bincount(frames.replica).tolist() == list(lengths) and frames.box.shape == (11, 3, 3)
    masses = np.tile([15.99943, 1.007947, 1.007947], n)[:, None] / 18.0153
    centres = np.concatenate([(masses * x).reshape(len(x), n, 3, 3).sum(2) for x in whole])
    off = np.linalg.solve(frames.boxes.transpose(0, 2, 1)[:, None], (frames.positions - centres)[..., None])[..., 0]
    # XTC keeps 0.001 nm.
    assert np.abs((off - np.round(off)) @ frames.boxes).max() < 2e-3
    model = train(frames, CONFIG, progress=False)
    assert model.header.species == ["W"] and model.header.mass("W") == pytest.approx(18.015, abs=1e-3)
    # Each frame in its own box: the force in OpenMM is that of the denoiser.
    topology = frames.topology()
    for number in (0, 10):
        topology.setPeriodicBoxVectors(frames.boxes[number])
        reference = model.forces(frames.positions[number], frames.boxes[number])
        found = forces_in_openmm(model, topology, frames.positions[number])
        np.testing.assert_allclose(found, reference, atol=1e-6 * np.abs(reference).max())
    # A run is made in the mean box of the data, slanted as it is.
    like = topology_like(model)
    np.testing.assert_allclose(np.array(like.getPeriodicBoxVectors()._value), frames.boxes.mean(0), atol=1e-6)
    path = simulate(
        model, tmp_path / "md", {"duration": 0.02, "interval": 0.01, "timestep": 0.001, "platform": "Reference"},
        positions=frames.positions[5], progress=False,
    )  # fmt: skip
    run = mdtraj.load(str(path), top=str(tmp_path / "md" / "topology.pdb"))
    np.testing.assert_allclose(run.unitcell_vectors[0], frames.boxes.mean(0), atol=1e-4)
    assert list(compute_rdf(frames, (0.2, 0.9)).g) == ["W-W"]
