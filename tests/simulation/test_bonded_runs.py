"""Runs of bonded beads: what bonds hold comes closer than the guard lets other pairs come."""

import numpy as np
import pytest

from openmm_diffusion import Denoiser, create_system, simulate
from openmm_diffusion.energies.wall import WallTerm
from openmm_diffusion.model.header import Header
from openmm_diffusion.simulation.guard import SimulationStopped
from openmm_diffusion.systems.topologies import training_topology

#: "B" is the symbol of boron too; a bead of this name is none.
TYPES, BONDS = ["A", "A", "B", "B", "A", "A"], [(i, i + 1) for i in range(5)]
RUN = dict(duration=0.02, interval=0.004, timestep=0.004, platform="Reference")


@pytest.fixture(scope="module")
def chain():
    """Beads that are 0.45 nm apart at least, unless three bonds or fewer join them."""
    apart = [[0.45, 0.45], [0.45, 0.45]]
    return Denoiser(
        Header(
            species=["A", "B"], particles=TYPES, temperature=300.0, box=None, number_density=None,
            shortest_distances=apart, numbers=[0, 0], masses=[72.0, 80.0], bonds=BONDS, exclusions=3,
            terms=[WallTerm(radii=apart, stiffness=2e5)],
        )
    )  # fmt: skip


def straight():
    return np.stack([0.3 * np.arange(6), 0.1 * (np.arange(6) % 2), np.zeros(6)], -1)


@pytest.mark.parametrize("backend, replicas", [("python", 1), ("python", 2)])
def test_the_guard_lets_bonded_beads_be_close(chain, tmp_path, backend, replicas):
    start = straight() if replicas == 1 else np.stack([straight()] * 2)
    simulate(
        chain, tmp_path / "run", {**RUN, "backend": backend, "replicas": replicas}, positions=start, progress=False
    )
    start = start.reshape(replicas, 6, 3).copy()
    start[-1, 5] = start[-1, 0] + [0, 0, 0.38]
    with pytest.raises(SimulationStopped, match="A 0 and A 5 came to 0.380 nm .* closer than the 0.410 nm"):
        settings = {**RUN, "backend": backend, "replicas": replicas}
        simulate(chain, tmp_path / "close", settings, positions=start if replicas > 1 else start[0], progress=False)


def test_masses_are_those_of_the_beads(chain):
    system = create_system(chain, training_topology(chain), backend="python")
    masses = [system.getParticleMass(i)._value for i in range(6)]
    assert masses == [72.0, 72.0, 80.0, 80.0, 72.0, 72.0]


def test_a_topology_that_lost_a_bond_is_written_again(chain, tmp_path, caplog):
    """One that is whole stays as it is, to the last byte."""
    run, path = RUN | {"backend": "python"}, tmp_path / "run" / "topology.pdb"
    simulate(chain, tmp_path / "run", run, positions=straight(), progress=False)
    data = path.read_bytes()
    simulate(chain, tmp_path / "run", run | {"duration": 0.04}, resume=True, progress=False)
    assert path.read_bytes() == data and "topology" not in caplog.text
    path.write_bytes(b"".join(data.splitlines(True)[:-2]) + b"END\n")
    simulate(chain, tmp_path / "run", run | {"duration": 0.06}, resume=True, progress=False)
    assert "topology.pdb was damaged or missing: it is written again" in caplog.text
    bonds = [line for line in data.splitlines() if line.startswith(b"CONECT")]
    assert [line for line in path.read_bytes().splitlines() if line.startswith(b"CONECT")] == bonds and len(bonds) == 5
