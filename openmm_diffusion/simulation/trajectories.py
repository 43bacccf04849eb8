"""The files of a run: one trajectory per replica, cut back to the checkpoint when the run goes on."""

import copy
import importlib.util
import io
import logging
from itertools import takewhile

from mdtraj.formats import HDF5TrajectoryFile
from mdtraj.utils.unitcell import box_vectors_to_lengths_and_angles
from openmm import app, unit

from .. import rundirectory
from ..data.completeness import keep_frames, layout

log = logging.getLogger(__name__)

#: Frames between two checkpoints.
CHECKPOINT = 10


class HDF5Reporter:
    """OpenMM reporter of mdtraj's HDF5 files: topology, positions (nm), times (ps) and cells.

    The file is open while a frame is written and at no other time, so that it is whole whenever the process is killed
    but then.

    Parameters
    ----------
    path : path
    every : int
        Steps between frames.
    topology : openmm.app.Topology
        Of the particles that are written.
    append : bool
    enforcePeriodicBox : bool
    atomSubset : sequence of int, optional
        None: all.
    """

    def __init__(self, path, every, topology, append, enforcePeriodicBox, atomSubset=None):  # noqa: N803 - as OpenMM's
        self.path, self.every, self.topology, self.append = path, every, topology, append
        self.periodic, self.subset = enforcePeriodicBox, slice(None) if atomSubset is None else list(atomSubset)

    def describeNextReport(self, simulation):  # noqa: N802 - OpenMM's reporter interface
        steps = self.every - simulation.currentStep % self.every
        return {"steps": steps, "periodic": self.periodic, "include": ["positions"]}

    def report(self, simulation, state):
        fields = {"time": state.getTime()._value}
        if self.periodic:
            vectors = state.getPeriodicBoxVectors(asNumpy=True)._value
            cell = box_vectors_to_lengths_and_angles(*vectors)
            fields |= {"cell_lengths": cell[:3], "cell_angles": cell[3:]}
        with HDF5TrajectoryFile(self.path, "a" if self.append else "w") as file:
            if not self.append:
                file.topology = self.topology
            file.write(state.getPositions(asNumpy=True)._value[self.subset], **fields)
        self.append = True


def check_format(extension):
    """Refuse a format of trajectories whose library is missing.

    Raises
    ------
    ImportError
    """
    if extension == "h5" and importlib.util.find_spec("tables") is None:
        raise ImportError(
            "format is h5, which needs pytables: pip install 'openmm_diffusion[hdf5]', or give format dcd or xtc"
        )


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
    text = _with_conect(text, topology) if fits else _with_struct_conn(text, topology, keep_ids)
    rundirectory.write_whole(path, text)
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


def mend_topology(folder, topology, context):
    """Write the topology file of a run that goes on again, where it is missing or has lost particles or bonds.

    Parameters
    ----------
    folder : Path
    topology : openmm.app.Topology
        Of one replica.
    context : openmm.Context
        Its box, and the positions of its first replica, go into a file that is written.
    """
    path, periodic = topology_path(folder), topology.getPeriodicBoxVectors() is not None
    if tells_of(path, topology):
        return
    log.warning("%s was damaged or missing: it is written again, with the positions of the checkpoint", path)
    state = context.getState(positions=True, enforcePeriodicBox=periodic)
    if periodic:
        topology = copy.deepcopy(topology)
        topology.setPeriodicBoxVectors(state.getPeriodicBoxVectors())
    write_topology(folder, topology, state.getPositions(asNumpy=True)._value[: topology.getNumAtoms()])


def tells_of(path, topology):
    """Whether a topology file can be read, and has the particles, bonds and box of a topology."""
    try:
        found = (app.PDBFile if path.suffix == ".pdb" else app.PDBxFile)(str(path)).topology
    except Exception:  # the readers of OpenMM end in whatever error comes first
        return False
    bonds = [{frozenset((bond[0].index, bond[1].index)) for bond in of.bonds()} for of in (found, topology)]
    boxes = [of.getPeriodicBoxVectors() is None for of in (found, topology)]
    return found.getNumAtoms() == topology.getNumAtoms() and bonds[0] >= bonds[1] and boxes[0] == boxes[1]


def topology_path(folder):
    """The topology file of a run."""
    return next(
        (path for path in folder.glob("topology.*") if path.suffix in (".pdb", ".cif")), folder / "topology.pdb"
    )


def trajectory_reporters(paths, every, topology, append):
    """A reporter of OpenMM for each replica of a topology; its particles follow those of the replica before."""
    n_particles, periodic = topology.getNumAtoms(), topology.getPeriodicBoxVectors() is not None
    subsets = [range(i * n_particles, (i + 1) * n_particles) for i in range(len(paths))] if len(paths) > 1 else [None]
    options = [dict(append=append, enforcePeriodicBox=periodic, atomSubset=subset) for subset in subsets]
    if paths[0].suffix == ".h5":
        return [HDF5Reporter(path, every, topology, **each) for path, each in zip(paths, options)]
    writer = app.DCDReporter if paths[0].suffix == ".dcd" else app.XTCReporter
    return [writer(str(path), every, **each) for path, each in zip(paths, options)]


def _whole(path):
    """Number of whole frames in a trajectory; 0 of a file that cannot be read."""
    if path.suffix != ".h5":
        found = layout(path)
        return 0 if found is None else len(found.ends)
    try:
        with HDF5TrajectoryFile(path, "r") as file:
            return min((len(array) for array in _arrays(file)), default=0)
    except (OSError, ValueError, RuntimeError):  # of which the last is pytables' for what is no such file
        return 0


def _keep(path, n_frames):
    """Cut what follows the first frames of a trajectory off."""
    if path.suffix != ".h5":
        return keep_frames(path, n_frames)
    with HDF5TrajectoryFile(path, "a") as file:
        for array in _arrays(file):
            array.truncate(n_frames)


def _arrays(file):
    """The arrays of an open HDF5 file that grow by a row with every frame."""
    return list(file._handle.iter_nodes("/", "EArray"))


def check_checkpoint(checkpoint):
    """Refuse to begin anew over trajectories whose checkpoint has been lost.

    Raises
    ------
    RunDirectoryError
    """
    for path in sorted(checkpoint.parent.glob("trajectory*.*")) if not checkpoint.exists() else []:
        whole = _whole(path)
        if whole > CHECKPOINT:
            raise rundirectory.RunDirectoryError(
                f"{checkpoint} is missing, but {path.name} beside it holds {whole} frames: copy it back, or delete the "
                f"directory {path.parent} and begin again"
            )


def cut_back(paths, n_frames, per_frame):
    """Drop the frames and rows that were written after the checkpoint: they will be written again.

    Bytes are cut off (of HDF5 files, rows), so that what stays is what was written, header and all, however large the
    file is.

    Parameters
    ----------
    paths : list of Path
        Trajectories; the tables are beside the first.
    n_frames : int
        That lie before the checkpoint.
    per_frame : dict of str to float
        By how much the first column of each table, named by its file, grows from frame to frame.

    Raises
    ------
    ValueError
        Where a file lacks frames that lie before the checkpoint; nothing is changed then.
    """
    tables = {paths[0].parent / name: step for name, step in per_frame.items()}
    for path in paths if n_frames else []:
        whole = _whole(path) if path.exists() else 0
        if whole < n_frames:
            raise ValueError(
                f"{path} holds {whole} whole frames, but the checkpoint beside it is at frame {n_frames}: copy a whole "
                "file back, or begin anew in another directory (--start takes a frame of this run)"
            )
    kept = {table: _rows(table, n_frames, step) for table, step in tables.items() if n_frames and table.exists()}
    for path in paths if n_frames else []:
        _keep(path, n_frames)
    for table, rows in kept.items():
        rundirectory.write_whole(table, "".join(rows))


def _rows(table, n_frames, step):
    """Head and rows of a table up to a frame; they begin after the first frame where it was deleted once."""
    with open(table, encoding="utf-8", errors="replace", newline="") as file:
        head, *rows = file.readlines() or [""]
    rows = list(takewhile(lambda row: row.endswith("\n") and row.count(",") == head.count(","), rows))
    number = rows[0].partition(",")[0] if rows else ""
    try:
        first = round(float(number) / step)
    except ValueError:
        first = 1
    if len(rows) < n_frames + 1 - first:
        raise ValueError(
            f"{table} holds {len(rows)} rows, but the checkpoint beside it is at frame {n_frames}: "
            "copy a whole file back, or delete it"
        )
    return [head, *rows[: max(0, n_frames + 1 - first)]]
