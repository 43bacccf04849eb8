"""NequIP as a learner, in the way of denoising: its own training on noised copies, with the noise as force labels.

It runs in a Python of its own (pip install nequip), through its program `nequip-train` and files; forces come from a
process that loads the checkpoint.  The label of y = x + sigma eps is -kT eps / sigma, and nothing else is learnt: no
energies, no prior.  Whole runs are kept apart by the learner itself, to tell when training is at its best.
"""

import subprocess
from pathlib import Path

import ase
import numpy as np
import yaml
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from learners import learner

from openmm_diffusion.units import thermal_energy

#: nm; copies of each frame, each with noise of its own; those that are kept to validate with, as a part of the frames.
SETTINGS = dict(
    sigma=0.01, copies=2, kept=0.15, steps=3000, batch=4, cutoff=0.6, features=16, layers=2, lmax=1, rate=0.01
)
ANGSTROM, EV = 10.0, 96.48533212  # in nm, and in kJ/mol
FORCE = EV * ANGSTROM  # eV/Angstrom in kJ/mol/nm


def noised(frames, sigma, copies, seed):
    """Atoms with labels, as ASE has them: Angstrom, eV/Angstrom."""
    rng, kT = np.random.default_rng(seed), thermal_energy(frames.temperature)
    found = []
    for k, x in enumerate(frames.positions.astype(float)):
        for _ in range(copies):
            eps = rng.normal(size=x.shape)
            atoms = ase.Atoms(frames.species, ANGSTROM * (x + sigma * eps), pbc=frames.box is not None)
            if frames.box is not None:
                atoms.set_cell(ANGSTROM * frames.boxes[k])
            # NequIP wants an energy beside forces; its weight is zero.
            atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=-kT * eps / sigma / FORCE)
            found.append(atoms)
    return found


def configuration(folder, symbols, scale, neighbours, n_frames, settings):
    """NequIP's configuration of a training."""
    epochs = max(1, round(settings["steps"] * settings["batch"] / n_frames))
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": settings["batch"]}
    metrics = {
        "_target_": "nequip.train.MetricsManager",
        "metrics": [{"field": "forces", "coeff": 1.0, "metric": {"_target_": "nequip.train.MeanSquaredError"}}],
    }
    data = "nequip.data"
    return {
        "run": ["train"],
        "data": {
            "_target_": f"{data}.datamodule.ASEDataModule", "seed": 1,
            "train_file_path": str(folder / "training.xyz"), "val_file_path": str(folder / "validation.xyz"),
            "transforms": [
                {"_target_": f"{data}.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": symbols},
                {"_target_": f"{data}.transforms.NeighborListTransform", "r_max": ANGSTROM * settings["cutoff"]},
            ],
            "train_dataloader": {**loader, "shuffle": True}, "val_dataloader": loader,
        },
        "trainer": {
            "_target_": "lightning.Trainer", "accelerator": "cpu", "max_epochs": epochs, "logger": False,
            "enable_progress_bar": False,
            "callbacks": [{
                "_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": str(folder), "filename": "best",
                "monitor": "val0_epoch/weighted_sum",
            }],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule", "ema_decay": 0.99,
            "loss": metrics, "val_metrics": metrics, "train_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": settings["rate"]},
            "model": {
                "_target_": "nequip.model.NequIPGNNModel", "seed": 1, "model_dtype": "float32",
                "type_names": symbols, "r_max": ANGSTROM * settings["cutoff"], "num_layers": settings["layers"],
                "l_max": settings["lmax"], "parity": False, "num_features": settings["features"],
                "avg_num_neighbors": neighbours, "per_type_energy_scales": scale, "per_type_energy_shifts": None,
            },
        },
    }  # fmt: skip


class Network:
    """Forces of a checkpoint, from a process that has loaded it.

    Parameters
    ----------
    python : str
    checkpoint : Path
    frames : Frames
        Of the particles and box that it is for.
    """

    def __init__(self, python, checkpoint, frames, cutoff):
        folder = checkpoint.parent
        cell = np.zeros((3, 3)) if frames.box is None else ANGSTROM * frames.boxes[0]
        np.savez(folder / "system.npz", numbers=frames.species, cell=cell, cutoff=ANGSTROM * cutoff)
        words = [str(Path(__file__).with_name("nequip_forces.py")), str(checkpoint), str(folder / "system.npz")]
        with open(folder / "forces.log", "w") as log:
            self.process = subprocess.Popen([python, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)

    def forces(self, positions, boxes=None):
        x = np.ascontiguousarray(ANGSTROM * np.asarray(positions, dtype=float))
        found = []
        for frame in x.reshape(-1, *x.shape[-2:]):
            self.process.stdin.write(frame.tobytes())
            self.process.stdin.flush()
            answer = self.process.stdout.read(frame.nbytes)
            if len(answer) < frame.nbytes:
                raise ValueError("NequIP's process has ended: forces.log in the folder of the fit says why")
            found.append(np.frombuffer(answer).reshape(frame.shape))
        return FORCE * np.reshape(found, x.shape)

    def __del__(self):
        self.process.stdin.close()
        self.process.wait()


def add(python):
    """Make NequIP known as a learner of LiCl, by the interpreter that has it."""

    @learner(f"NequIP, noise {SETTINGS['sigma']:g} nm", ["licl"], **SETTINGS)
    def fit(frames, folder):
        folder = (folder / "nequip").resolve()
        folder.mkdir(exist_ok=True)
        checkpoint = folder / "best.ckpt"
        if not checkpoint.exists():
            sets = dict(zip(("training", "validation"), frames.split(SETTINGS["kept"], seed=0)))
            for seed, (name, part) in enumerate(sets.items()):
                atoms = noised(part, SETTINGS["sigma"], SETTINGS["copies"], seed)
                write(folder / f"{name}.xyz", atoms, format="extxyz")
            number = SETTINGS["copies"] * len(sets["training"])
            scale = thermal_energy(frames.temperature) / SETTINGS["sigma"] / FORCE
            neighbours = frames.number_density * 4 / 3 * np.pi * SETTINGS["cutoff"] ** 3
            symbols = list(dict.fromkeys(frames.symbols))
            config = configuration(folder, symbols, scale, float(neighbours), number, SETTINGS)
            (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
            words = ["-m", "nequip.scripts.train", "-cp", str(folder), "-cn", "config", f"hydra.run.dir={folder}/hydra"]
            with open(folder / "log.txt", "w") as log:
                subprocess.run([python, *words], check=True, stdout=log, stderr=log)
        return Network(python, checkpoint, frames, SETTINGS["cutoff"])
