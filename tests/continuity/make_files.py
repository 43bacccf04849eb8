"""The files of version 0.1.0 beside this script: what every later version loads, evaluates and resumes.

    python tests/continuity/make_files.py DIRECTORY

The files were made by this script, run with the code of commit a6e9319 (torch 2.9, OpenMM 8.5), before the
modules moved into sub-packages.  It is kept as a record: it uses the import paths of that commit, and a file
that is made anew is no proof of anything.
"""

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openmm
import torch
from openmm import unit

from openmm_diffusion import Denoiser, DiffusionForce, Frames, simulate, train
from openmm_diffusion.combination import ensemble, extrapolated
from openmm_diffusion.header import CoulombTerm, Header, NetworkTerm, PairTerm, WallTerm
from openmm_diffusion.network import NetworkConfig

FRAMES = "examples/licl/licl.npz"
SHAPE = dict(cutoff=0.6, lmax=1, features=2, layers=2, radial=4, radial_width=4)
RANGE = (0.003, 0.03)

#: The interrupted training: small enough for a test, long enough to be stopped half-way.
CONFIG = {
    "data": {"limit": 60, "test_fraction": 0.9 - 1e-9, "validation_fraction": 0.2},
    "prior": {"coulomb": {"charges": {"Li": 1.0, "Cl": -1.0}}},
    "pair": {"cutoff": 0.8, "spacing": 0.06, "penalties": [100.0, 10000.0]},
    "network": {**SHAPE, "layers": 1},
    "training": {"steps": 60, "check_every": 10, "batch": 4, "validation_draws": 1, "patience": 100},
}


def denoiser(*kinds, head="energy", sigma=0.005, seed=0):
    """A denoiser of LiCl with weights that nothing was learnt from."""
    ranged = "range" in kinds
    levels = np.geomspace(*RANGE, 7).tolist() if ranged else None
    sigma = RANGE[0] if ranged else sigma
    terms = {
        "coulomb": CoulombTerm(charges={"Li": 1.0, "Cl": -1.0}, relative_permittivity=78.3),
        "wall": WallTerm(radii=[[0.50, 0.28], [0.28, 0.45]], stiffness=2.0e3, sigma=sigma if ranged else None),
        "pair": PairTerm(sigma=sigma, sigmas=levels, cutoff=0.9, start=0.18, spacing=0.06, penalty=1000.0),
        "network": NetworkTerm(
            sigma=sigma, sigmas=RANGE if ranged else None, network=NetworkConfig(head=head, **SHAPE), neighbours=8.0
        ),
    }
    header = Header(
        species=[3, 17], particles=[3] * 24 + [17] * 24, temperature=300.0, box=(2.526 * np.eye(3)).tolist(),
        number_density=2.978, shortest_distances=[[0.3, 0.2], [0.2, 0.3]],
        terms=[terms[k] for k in terms if k in kinds],
    )  # fmt: skip
    torch.manual_seed(seed)
    made = Denoiser(header)
    rng = np.random.default_rng(seed)
    for module in made.modules():
        if hasattr(module, "coefficients"):
            for values in [module.coefficients, *module.table]:
                x = np.linspace(0, 1, values.shape[1])
                waves = np.cos(np.pi * np.arange(1, 5)[:, None] * x)
                curves = 3 * rng.normal(size=(len(values), 4)) @ waves * (1 - x) ** 3
                curves[:, -3:] = 0
                values.copy_(torch.as_tensor(curves))
    return made.at(sigma) if ranged else made


def models():
    """One model of each kind, by name."""
    pairs = [denoiser("coulomb", "wall", "pair", seed=seed) for seed in (0, 1)]
    noisier = denoiser("coulomb", "wall", "pair", sigma=0.01, seed=2)
    return {
        "prior": denoiser("coulomb", "wall"),
        "pair": pairs[0],
        "pair_network": denoiser("coulomb", "wall", "pair", "network"),
        "vector": denoiser("coulomb", "wall", "pair", "network", head="vector"),
        "range": denoiser("coulomb", "wall", "pair", "network", "range"),
        "ensemble": ensemble(pairs),
        "extrapolated": extrapolated([pairs[0], noisier]),
    }


def main(directory):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    frames = Frames.load(FRAMES)
    positions = frames.positions[:2].astype(float)
    expected = {"positions": positions}
    for name, model in models().items():
        model.save(directory / f"{name}.safetensors")
        expected[f"{name} forces"] = model.forces(positions)
        if model.conservative:
            expected[f"{name} energy"] = model.energy(positions)
        if name == "range":
            expected["range at 0.01 forces"] = model.at(0.01).forces(positions)
    for name in ("licl", "licl_vector"):
        expected[f"{name} forces"] = Denoiser.load(name).forces(positions)
    topology = frames.topology()
    for backend in ("python", "torchscript"):
        system = openmm.System()
        for atom in topology.atoms():
            system.addParticle(atom.element.mass)
        system.setDefaultPeriodicBoxVectors(*topology.getPeriodicBoxVectors())
        system.addForce(DiffusionForce(directory / "pair_network.safetensors", topology, backend=backend))
        with gzip.open(directory / f"system_{backend}.xml.gz", "wt", compresslevel=9) as file:
            file.write(openmm.XmlSerializer.serialize(system))
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(positions[0])
        forces = context.getState(getForces=True).getForces(asNumpy=True)
        expected[f"system_{backend} forces"] = forces.value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    np.savez_compressed(directory / "expected.npz", **expected)

    simulate(
        directory / "pair.safetensors", directory / "simulation",
        {"duration": 0.4, "interval": 0.1, "platform": "Reference"}, positions=positions[0], progress=False,
    )  # fmt: skip

    # A training that was killed: a process of its own, ended once it has two checks behind it.
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import make_files; make_files.training()"
    run = directory / "training"
    child = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "CONTINUITY": str(run)})
    metrics = run / "log" / "metrics.csv"
    while not (metrics.exists() and metrics.read_text().count("\n") > 4):
        time.sleep(0.002)
        if child.poll() is not None:
            raise RuntimeError("the training ended before it could be stopped: make it longer")
    child.send_signal(signal.SIGKILL)
    child.wait()


def training():
    """The training that `main` kills."""
    train(Frames.load(FRAMES), CONFIG, os.environ["CONTINUITY"], progress=False)


if __name__ == "__main__":
    main(sys.argv[1])
