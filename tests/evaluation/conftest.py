"""What tests of evaluations share: the bundled frames, the shipped model, and an evaluation of both."""

import pytest

from openmm_diffusion import Denoiser, Frames, evaluate


@pytest.fixture(scope="session")
def frames():
    return Frames.load("examples/licl/licl.npz")


@pytest.fixture(scope="session")
def denoiser():
    return Denoiser.load("licl")


@pytest.fixture(scope="session")
def whole(frames, denoiser, tmp_path_factory):
    """An evaluation with everything: labels, and runs that are frames of the training set."""
    directory = tmp_path_factory.mktemp("whole")
    for k in range(3):
        frames[200 * k : 200 * k + 100].to_mdtraj().save(str(directory / f"{k}.dcd"))
    frames[:1].to_mdtraj().save(str(directory / "t.pdb"))
    pair = denoiser.subset(("coulomb", "wall", "pair"))
    return evaluate(pair, frames[600:900:3], [directory / f"{k}.dcd" for k in range(3)], directory / "t.pdb", discard=0)
