"""Forces of a NequIP checkpoint in NequIP's own Python: `with_nequip.py` calls this.

    NEQUIP_PYTHON nequip_forces.py CHECKPOINT SYSTEM.npz

The system holds the atomic numbers, the cell (Angstrom; zeros for none) and the cutoff (Angstrom).  Standard input
brings positions of one frame after the other, n x 3 doubles in Angstrom; standard output answers forces, eV/Angstrom.
"""

import os
import sys

import ase
import numpy as np
import torch


def main(checkpoint, system):
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.model import ModelFromCheckpoint
    from nequip.utils.global_state import set_global_state

    set_global_state()  # as nequip-train had it: double precision around, and the model's own within
    torch.set_num_threads(1)
    model = ModelFromCheckpoint(checkpoint)
    model = next(iter(model.values())) if isinstance(model, torch.nn.ModuleDict) else model
    model.eval()
    with np.load(system) as held:
        numbers, cell, cutoff = held["numbers"], held["cell"], float(held["cutoff"])
    transforms = [ChemicalSpeciesToAtomTypeMapper(list(model.type_names)), NeighborListTransform(r_max=cutoff)]
    while frame := sys.stdin.buffer.read(24 * len(numbers)):
        data = from_ase(ase.Atoms(numbers, np.frombuffer(frame).reshape(-1, 3), cell=cell, pbc=bool(cell.any())))
        for transform in transforms:
            data = transform(data)
        forces = model(AtomicDataDict.batched_from_list([data]))["forces"].detach().numpy()
        answers.write(forces.astype(float).tobytes())
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
