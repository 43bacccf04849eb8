"""A network with pseudoscalars learns that one hand is likelier than the other; one without cannot."""

import numpy as np
import pytest
from freechain import placed

from openmm_diffusion import Frames, train
from openmm_diffusion.units import thermal_energy

TEMPERATURE, TYPES = 300.0, list("ABAB")
BOND, COSINE, WIDTH = 0.15, -0.34, 0.004  # nm, of 110 degrees, nm


def chains(phi):
    """Positions (n_frames, 4, 3), nm, of four beads in a row at dihedrals phi."""
    sine, x = np.sqrt(1 - COSINE**2), np.zeros((len(phi), 4, 3))
    x[:, 1, 0] = BOND
    x[:, 2] = x[:, 1] + BOND * np.array([-COSINE, sine, 0])
    x[:, 3] = placed(x[:, 0], x[:, 1], x[:, 2], np.full(len(phi), BOND), np.full(len(phi), COSINE), phi)
    return x


@pytest.mark.slow
@pytest.mark.long
def test_a_chiral_network_learns_how_much_likelier_one_hand_is(tmp_path):
    """The density of dihedrals is exp(sin phi): the mirror image of phi costs 2 kT sin(phi)."""
    rng = np.random.default_rng(0)
    phi = rng.uniform(-np.pi, np.pi, 10_000)
    phi = phi[rng.uniform(size=len(phi)) < np.exp(np.sin(phi) - 1)][:3000]
    x = chains(phi) + WIDTH * rng.normal(size=(len(phi), 4, 3))
    frames = Frames(x, [0] * 4, None, TEMPERATURE, types=TYPES, masses=[72.0] * 4)
    config = {
        "pair": None, "prior": {"wall": None}, "noise": {"sigma": 0.02}, "data": {"test_fraction": 0},
        "network": {"cutoff": 0.5, "features": 8, "layers": 3, "radial_width": 16, "chiral": True},
        "training": {"steps": 300, "batch": 64, "learning_rate": 0.02, "ema_decay": 0.9},
    }  # fmt: skip
    model = train(frames, config, tmp_path / "run", progress=False)
    angles = np.radians([30, 60, 90, 120, 150])
    cost = [model.energy(chains(s * angles), None, TYPES) / thermal_energy(TEMPERATURE) for s in (-1, 1)]
    # Noise of 0.02 nm takes 2 % of it; the rest is what a short training leaves.
    np.testing.assert_allclose(cost[0] - cost[1], 2 * np.sin(angles), atol=0.5)
