"""Small files as programs write them, for the tests of reading."""

import mdtraj
import numpy as np


def grid(n, edge, n_frames=1, seed=0, apart=0.25):
    """Positions, nm, (n_frames, n, 3), jittered about a grid in a cube, no two nearer than `apart`."""
    side = int(np.ceil(n ** (1 / 3)))
    places = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n]
    step = edge / side
    jitter = np.random.default_rng(seed).uniform(-1, 1, (n_frames, n, 3)) * max(0.0, (step - apart) / 2) * 0.95
    return (places + 0.5) * step + jitter


def write_gro(path, atoms, frames, boxes, decimals=3, velocities=False):
    """Atoms as (residue, name); boxes as the numbers of the box line, one row for each frame."""
    width = decimals + 5
    with open(path, "w") as file:
        for frame, box in zip(frames, boxes):
            file.write(f"made by hand, t= 0.0\n{len(atoms):5d}\n")
            for i, ((residue, name), x) in enumerate(zip(atoms, frame)):
                row = f"{(i + 1) % 100000:5d}{residue:<5s}{name:>5s}{(i + 1) % 100000:5d}"
                row += "".join(f"{value:{width}.{decimals}f}" for value in x)
                if velocities:
                    row += "".join(f"{value:{width}.{decimals + 1}f}" for value in 0.1 * x)
                file.write(row + "\n")
            file.write("".join(f"{value:10.5f}" for value in box) + "\n")


def write_pdb(path, atoms, frames, edges=None, left=False, separator="MODEL"):
    """Atoms as (residue, name, element column); one edge (nm) for each frame, or None without boxes."""
    with open(path, "w") as file:
        for k, frame in enumerate(frames):
            if edges is not None:
                edge = 10 * edges[k]
                file.write(f"CRYST1{edge:9.3f}{edge:9.3f}{edge:9.3f}  90.00  90.00  90.00 P 1           1\n")
            if separator == "MODEL":
                file.write(f"MODEL {k + 1:8d}\n")
            for i, ((residue, name, element), x) in enumerate(zip(atoms, 10 * frame)):
                shown = f"{name:<4s}" if left or len(name) == 4 else f" {name:<3s}"
                place = "".join(f"{value:8.3f}" for value in x)
                file.write(f"HETATM{i + 1:5d} {shown} {residue:<4s}A{i + 1:4d}    {place}  1.00  0.00{element:>12s}\n")
            file.write("ENDMDL\n" if separator == "MODEL" else "END\n")


def save(topology, positions, edge, path):
    """A trajectory of mdtraj in whatever format the name says."""
    trajectory = mdtraj.Trajectory(np.asarray(positions, np.float32), topology)
    if edge is not None:
        trajectory.unitcell_vectors = np.tile(np.eye(3, dtype=np.float32) * edge, (len(positions), 1, 1))
    trajectory.save(str(path))
    return path


def topology_of(atoms, elements=None):
    """mdtraj topology of (residue, name), each a residue of its own, without elements."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for i, (residue, name) in enumerate(atoms):
        element = mdtraj.element.virtual if elements is None else elements[i]
        topology.add_atom(name, element, topology.add_residue(residue, chain))
    return topology
