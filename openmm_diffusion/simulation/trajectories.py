"""The files of a run: one trajectory per replica, cut back to the checkpoint when the run goes on."""

import io

import mdtraj
from openmm import app, unit


def trajectory_paths(output, extension, replicas):
    """trajectory.dcd of one replica, trajectory-00.dcd, trajectory-01.dcd, ... of several."""
    if replicas == 1:
        return [output / f"trajectory.{extension}"]
    digits = max(2, len(str(replicas - 1)))
    return [output / f"trajectory-{number:0{digits}}.{extension}" for number in range(replicas)]


def write_topology(folder, topology, positions, keep_ids=False):
    """Write topology.pdb, or topology.cif where a PDB file would cut the names of atoms or residues short.

    Parameters
    ----------
    folder : Path
    topology : openmm.app.Topology
    positions : array, shape (n_particles, 3), nm
    keep_ids : bool
        Whether chains and residues keep their own numbers.

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
    text = io.StringIO()
    writer.writeFile(topology, positions * unit.nanometer, text, keepIds=keep_ids)
    text = text.getvalue()
    path.write_text(_with_conect(text, topology) if fits else _with_struct_conn(text, topology, keep_ids))
    return path


def _with_conect(text, topology):
    """A PDB file with all bonds: OpenMM leaves out those within residues that it takes for standard ones ("A")."""
    lines = [line for line in text.splitlines() if not line.startswith(("CONECT", "END"))]
    serials = [line[6:11] for line in lines if line.startswith(("ATOM", "HETATM"))]
    bonds = [f"CONECT{serials[one.index]}{serials[other.index]}" for one, other in topology.bonds()]
    return "\n".join([*lines, *bonds, "END", ""])


def _with_struct_conn(text, topology, keep_ids):
    """An mmCIF file with all bonds, see `_with_conect`."""
    loops = [loop for loop in text.split("loop_\n") if not loop.startswith("_struct_conn.")]
    chains = {chain: chain.id if keep_ids else chr(65 + n % 26) for n, chain in enumerate(topology.chains())}
    seqs = {r: r.id if keep_ids else n + 1 for chain in topology.chains() for n, r in enumerate(chain.residues())}
    columns = ["id", "conn_type_id"]
    columns += [f"ptnr{end}_label_{of}_id" for end in (1, 2) for of in ("asym", "comp", "seq", "atom")]
    rows = [
        " ".join([str(number + 1), "covale", *(
            f"{chains[atom.residue.chain]} {atom.residue.name} {seqs[atom.residue]} {atom.name}" for atom in bond
        )])
        for number, bond in enumerate(topology.bonds())
    ]  # fmt: skip
    if not rows:
        return "loop_\n".join(loops)
    own = "\n".join([*(f"_struct_conn.{column}" for column in columns), *rows, "#", ""])
    return "loop_\n".join([*loops, own])


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
