"""Other people's models: a deployed NequIP file (TorchScript) as an OpenMM Force, to compare with."""

import io
from pathlib import Path

import numpy as np
import openmm
import torch
from openmm import unit

from ...space.boxes import check_cutoff, wrap
from ...space.neighbours import neighbour_pairs
from ...units import ANGSTROM, ELECTRONVOLT

#: Name of the force in a System.
NEQUIP_NAME = "NequIPForce"


class NequIPEvaluator:
    """What PythonForce calls; pickled as the bytes of the user's file.

    The module takes a dict of tensors: pos (A), edge_index (2, E), edge_cell_shift
    (E, 3), cell (3, 3) (A) and atom_types (N,), every pair as two edges with the vector
    pos[edge_index[1]] - pos[edge_index[0]] + edge_cell_shift @ cell; it returns
    total_energy (eV) and forces (N, 3) (eV/A).

    Parameters
    ----------
    data : bytes
        The file.
    types : list of int
        Place of each particle's element in the file's type_names.
    periodic : bool
    """

    def __init__(self, data, types, periodic):
        self.data, self.types, self.periodic = data, types, periodic
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        module, metadata = load(data, "NequIP file", self.device)
        self.cutoff = cutoff_of(metadata)
        weights = [*module.parameters(), *module.buffers()]
        self.dtype = next((w.dtype for w in weights if w.is_floating_point()), torch.float32)
        # As NequIP's own calculators do; a file frozen at deployment has no attribute training.
        self.module = torch.jit.freeze(module.eval()) if hasattr(module, "training") else module
        self.index = torch.tensor(types, device=self.device)

    def __reduce__(self):
        return NequIPEvaluator, (self.data, self.types, self.periodic)

    def __call__(self, state):
        """Energy (kJ/mol) and forces (n_particles, 3), kJ/mol/nm, of an OpenMM State."""
        positions = torch.from_numpy(state.getPositions(asNumpy=True)._value).to(self.device)
        box = None
        if self.periodic:
            box = torch.from_numpy(state.getPeriodicBoxVectors(asNumpy=True)._value).to(self.device)
            positions = wrap(positions, box)
        first, second, vectors = neighbour_pairs(positions.unsqueeze(0), box, self.cutoff)
        cell = torch.eye(3, dtype=positions.dtype, device=self.device) if box is None else box
        shift = torch.round((vectors - positions[second] + positions[first]) @ torch.linalg.inv(cell))
        out = self.module(
            {
                "pos": (positions / ANGSTROM).to(self.dtype),
                "edge_index": torch.stack([torch.cat([first, second]), torch.cat([second, first])]),
                "edge_cell_shift": torch.cat([shift, -shift]).to(self.dtype),
                "cell": (cell / ANGSTROM).to(self.dtype),
                "atom_types": self.index,
            }
        )
        energy = ELECTRONVOLT * float(out["total_energy"].detach())
        return energy, ELECTRONVOLT / ANGSTROM * out["forces"].detach().double().cpu().numpy()


def nequip_force(path, topology):
    """A deployed NequIP model as an OpenMM Force.

    A TorchScript file is a program: loading it runs what its author wrote.  Model files
    of this package hold arrays and text, and never come this way.

    Parameters
    ----------
    path : path
        As nequip-deploy of NequIP 0.5 writes it, lengths in A and energies in eV.
    topology : openmm.app.Topology
        Its elements must be among the file's type_names.

    Returns
    -------
    openmm.PythonForce

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, it is no TorchScript, r_max or type_names are missing from
        it, an element is unknown to it, or r_max is over half the box.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no NequIP file {path}: give a model written by nequip-deploy")
    data = Path(path).read_bytes()
    _, metadata = load(data, path)
    cutoff, names = cutoff_of(metadata, path), metadata["type_names"].split()
    symbols = [atom.element.symbol for atom in topology.atoms()]
    unknown = sorted(set(symbols) - set(names))
    if unknown:
        raise ValueError(
            f"{path} knows the types {', '.join(names) or 'none'}, not {', '.join(unknown)}: "
            "give a model whose type_names are the elements of the system"
        )
    box = topology.getPeriodicBoxVectors()
    if box is not None:
        vectors = torch.tensor(np.array(box.value_in_unit(unit.nanometer), dtype=float))
        check_cutoff(cutoff, vectors, f"r_max of {path}")
    force = openmm.PythonForce(NequIPEvaluator(data, [names.index(s) for s in symbols], box is not None))
    force.setName(NEQUIP_NAME)
    force.setUsesPeriodicBoundaryConditions(box is not None)
    return force


def load(data, name, device="cpu"):
    """The TorchScript module in a file (bytes), and its metadata, a dict of str; `name` is used in error messages."""
    metadata = {"r_max": "", "type_names": ""}
    try:
        module = torch.jit.load(io.BytesIO(data), map_location=device, _extra_files=metadata)
    except RuntimeError as error:
        raise ValueError(f"{name} is not a TorchScript file: give a model written by nequip-deploy") from error
    return module, {k: v.decode() if isinstance(v, bytes) else v for k, v in metadata.items()}


def cutoff_of(metadata, name="NequIP file"):
    """r_max of a file's metadata (there in A) in nm."""
    if not metadata["r_max"]:
        raise ValueError(f"{name} is TorchScript without r_max: give a model written by nequip-deploy, which adds it")
    return float(metadata["r_max"]) * ANGSTROM
