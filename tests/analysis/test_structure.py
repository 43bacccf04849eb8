"""Peaks, contacts and coordination numbers, on curves and configurations made by hand."""

import numpy as np
import pytest

from openmm_diffusion import Frames, compute_rdf
from openmm_diffusion.analysis.rdf import RDF, rmsd
from openmm_diffusion.analysis.structure import (
    compare_rdf,
    coordination,
    find_peaks,
    first_minima,
    first_minimum,
    in_contact,
    rmsd_error,
    structure_rows,
)

LI, CL, EDGE = 3, 17, 2.0


def gas(n_frames, counts, seed=0, edge=EDGE):
    """Particles anywhere: no structure."""
    species = np.repeat(list(counts), list(counts.values()))
    x = np.random.default_rng(seed).uniform(0, edge, (n_frames, len(species), 3))
    return Frames(x, species, edge * np.eye(3), 300)


def test_the_coordination_number_of_an_ideal_gas_is_density_times_volume():
    frames, r = gas(400, {LI: 10, CL: 30}), {"Li-Li": 0.5, "Li-Cl": 0.4, "Cl-Cl": 0.3}
    numbers = coordination(frames, r)
    partners = {
        "Li around Li": (9, 0.5),
        "Cl around Li": (30, 0.4),
        "Li around Cl": (10, 0.4),
        "Cl around Cl": (29, 0.3),
    }
    assert set(numbers) == set(partners)
    for pair, (n, distance) in partners.items():
        value, error = numbers[pair]
        expected = n / EDGE**3 * 4 / 3 * np.pi * distance**3
        assert error < 0.06 * expected
        assert abs(value - expected) < 4 * error


def test_contact_is_a_near_partner_of_another_element():
    x = [
        [0.05, 1.0, 1.0],  # Li, 0.25 nm from the first Cl, across the boundary
        [0.05, 1.2, 1.0],  # Li, nearer than that to a Li, too far from any Cl
        [1.80, 1.0, 1.0],  # Cl
        [1.00, 0.2, 0.2],  # Cl, alone
    ]
    apart = np.array(x) + [[0, 0, 0], [0, 0, 0], [-0.2, 0, 0], [0, 0, 0]]
    frames = Frames(np.array([x, apart]), [LI, LI, CL, CL], EDGE * np.eye(3), 300)
    contact = in_contact(frames, {"Li-Li": 0.5, "Li-Cl": 0.3})
    assert contact.tolist() == [[True, False, True, False], [False] * 4]
    assert in_contact(frames, {"Li-Cl": 0.24}).sum() == 0
    # The order of the elements in the file does not matter.
    turned = Frames(frames.positions[:, ::-1], [CL, CL, LI, LI], frames.box, 300)
    assert (in_contact(turned, {"Li-Cl": 0.3}) == contact[:, ::-1]).all()


def test_two_peaks_and_the_minimum_between_them_are_found_through_noise():
    r = np.arange(0.2, 1.0, 0.005)
    peaks = [(0.24, 1.2, 0.02), (0.45, 2.0, 0.04)]
    g = sum(height * np.exp(-(((r - place) / width) ** 2)) for place, height, width in peaks) + 1 / (
        1 + np.exp(-(r - 0.4) / 0.02)
    )
    g += np.random.default_rng(0).normal(0, 0.03, len(r))
    tops = find_peaks(g, np.full(len(r), 0.01))
    assert np.allclose(r[tops][:2], [0.24, 0.45], atol=0.01)
    assert 0.27 < r[first_minimum(g, np.full(len(r), 0.01))] < 0.38
    assert find_peaks(g, np.full(len(r), 2.0)) == tops[:1], "within the errors only the first is told"


def test_a_gas_has_no_first_minimum():
    assert first_minima(gas(300, {LI: 20, CL: 20})) == {}
    assert first_minima(Frames(np.zeros((2, 2, 3)) + [[0], [1]], [LI, CL], None, 300)) == {}


@pytest.fixture(scope="module")
def frames():
    return Frames.load("examples/licl/licl.npz")


def test_the_example_has_its_contact_minimum_where_the_ions_part(frames):
    minima = first_minima(frames)
    assert 0.28 < minima["Li-Cl"] < 0.32


def test_total_error_is_learning_where_nothing_was_smoothed(frames):
    errors, curves, _ = compare_rdf(frames[:300], frames[300:600], 0)
    assert (errors["smoothing"] == 0).all() and (errors["total"] == errors["learning"]).all()
    for _, row in errors.iterrows():
        by_hand = curves[f"{row['pair']}_model"] - curves[f"{row['pair']}_clean"]
        assert np.isclose(row["total"], np.sqrt((by_hand**2).mean()))


def test_error_of_an_rmsd_is_its_spread_over_repetitions():
    """Two curves 0.2 apart, blocks of each with noise common to all bins and noise of their own."""
    rng, n_bins, n_blocks = np.random.default_rng(0), 40, 8
    values, errors = [], []

    def curve(height):
        shared, own = rng.normal(0, 0.1, (n_blocks, 1)), rng.normal(0, 0.1, (n_blocks, n_bins))
        rows, weights = height + shared + own, np.ones(n_blocks)
        return RDF(np.arange(n_bins), {"Li-Cl": rows.mean(0)}, {}, {"Li-Cl": rows}, weights)

    for _ in range(200):
        first, second = curve(1.0), curve(1.2)
        values.append(rmsd(first.g["Li-Cl"], second.g["Li-Cl"]))
        errors.append(rmsd_error(first, second, "Li-Cl"))
        assert rmsd_error(first, first, "Li-Cl", seeds=(0, 0)) == 0
    # The spread of 200 values is known to 1/sqrt(400) = 5 %.
    assert abs(np.sqrt(np.mean(np.square(errors))) / np.std(values) - 1) < 0.2


def test_rows_name_both_peaks_coordination_and_closest_approach(frames):
    reference, runs = frames[::4], frames[2::4]
    errors, _, peaks = compare_rdf(reference, runs, 0.005)
    rows = structure_rows(reference, runs, errors, peaks, first_minima(reference))
    found = {row[:3]: row[4] for row in rows}
    assert abs(found["second peak, position", "Li-Cl", "clean"] - 0.45) < 0.01
    assert found["first peak, height", "Li-Cl", "noised"] < found["first peak, height", "Li-Cl", "clean"]
    assert np.isclose(found["closest approach", "Li-Cl", "clean"], reference.shortest_distances()[LI, CL])
    # The number of contacts from the integral of g(r), in bins up to the first minimum.
    r_min = found["first minimum", "Li-Cl", "clean"]
    rdf = compute_rdf(reference, (0.1, 1.0), 0.0025)
    inside, density = rdf.r < r_min, 24 / 2.526**3
    integral = 4 * np.pi * density * (rdf.g["Li-Cl"] * rdf.r**2)[inside].sum() * 0.0025
    assert np.isclose(found["coordination number", "Cl around Li", "clean"], integral, rtol=0.02)
