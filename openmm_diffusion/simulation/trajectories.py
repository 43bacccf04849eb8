"""The files of a run: one trajectory per replica, cut back to the checkpoint when the run goes on."""

import mdtraj
from openmm import app, unit


def trajectory_paths(output, extension, replicas):
    """trajectory.dcd of one replica, trajectory-00.dcd, trajectory-01.dcd, ... of several."""
    if replicas == 1:
        return [output / f"trajectory.{extension}"]
    digits = max(2, len(str(replicas - 1)))
    return [output / f"trajectory-{number:0{digits}}.{extension}" for number in range(replicas)]


def write_topology(folder, topology, positions):
    """Write topology.pdb, or topology.cif where a PDB file would cut the names of atoms or residues short.

    Parameters
    ----------
    folder : Path
    topology : openmm.app.Topology
    positions : array, shape (n_particles, 3), nm

    Returns
    -------
    Path
    """
    # A residue of its own that repeats its atom's name, as single particles have, may be cut.
    fits = all(
        len(atom.name) <= 4 and (len(atom.residue.name) <= 3 or atom.residue.name == atom.name)
        for atom in topology.atoms()
    )
    path, writer = folder / ("topology.pdb" if fits else "topology.cif"), app.PDBFile if fits else app.PDBxFile
    with open(path, "w") as file:
        writer.writeFile(topology, positions * unit.nanometer, file)
    return path


def topology_path(folder):
    """The topology file of a run."""
    return next(
        (path for path in folder.glob("topology.*") if path.suffix in (".pdb", ".cif")), folder / "topology.pdb"
    )


def trajectory_reporters(paths, every, topology, append):
    """A reporter of OpenMM for each replica of a topology; its particles follow those of the replica before."""
    n_particles, periodic = topology.getNumAtoms(), topology.getPeriodicBoxVectors() is not None
    writer = app.DCDReporter if paths[0].suffix == ".dcd" else app.XTCReporter
    subsets = [range(i * n_particles, (i + 1) * n_particles) for i in range(len(paths))] if len(paths) > 1 else [None]
    return [
        writer(str(path), every, append=append, enforcePeriodicBox=periodic, atomSubset=subset)
        for path, subset in zip(paths, subsets)
    ]


def cut_back(paths, n_frames):
    """Drop the frames and rows that were written after the checkpoint: they will be written again."""
    output = paths[0].parent
    for path in paths:
        if path.exists() and n_frames:
            frames = mdtraj.load(str(path), top=str(topology_path(output)))
            if len(frames) > n_frames:
                partial = path.with_name(f"partial{path.suffix}")
                frames[:n_frames].save(str(partial))
                partial.replace(path)
    for table in (output / "state.csv", output / "spread.csv"):
        if table.exists():
            table.write_text("".join(table.read_text().splitlines(keepends=True)[: n_frames + 1]))
