"""The denoiser: forces from energies, symmetries of the whole sum, its file, and what it refuses."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from openmm import unit
from scipy.spatial.transform import Rotation

from openmm_diffusion.data.frames import Frames
from openmm_diffusion.energies.coulomb import CoulombTerm
from openmm_diffusion.energies.network import NetworkConfig, NetworkTerm
from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.energies.wall import WallTerm
from openmm_diffusion.model.combination import merged
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.model.header import Header
from openmm_diffusion.units import thermal_energy

HEADS = pytest.mark.parametrize("head", ["energy", "vector"])
# Of the largest force.
TOLERANCE = {"single": 2e-5, "double": 1e-9}
PRECISIONS = pytest.mark.parametrize("precision", TOLERANCE)
BOX = np.diag([2.526, 2.526, 2.526])
TRICLINIC = np.array([[2.5, 0.0, 0.0], [0.8, 2.4, 0.0], [-0.9, 0.7, 2.3]])
BOXES = {"cubic": BOX, "triclinic": TRICLINIC, "none": None}
LI, CL = 3, 17
SPECIES = np.array([LI] * 24 + [CL] * 24)
KINDS = ("coulomb", "wall", "pair", "network")


@functools.cache
def _denoiser(head, box, kinds):
    box = BOXES[box]
    network = NetworkConfig(head=head, cutoff=0.6, lmax=1, features=4, layers=2, radial_width=8)
    terms = [
        CoulombTerm(charges={"Li": 1.0, "Cl": -1.0}, relative_permittivity=78.3),
        # Wide enough to be felt: the shortest distances of the frames are 0.22 (LiCl) to 0.4 nm.
        WallTerm(radii=[[0.50, 0.28], [0.28, 0.45]], stiffness=2.0e3),
        PairTerm(sigma=0.005, cutoff=0.9, start=0.18, spacing=0.06),
        NetworkTerm(sigma=0.005, network=network, neighbours=8.0, weight=0.7),
    ]
    header = Header(
        species=[LI, CL],
        particles=SPECIES.tolist(),
        temperature=300.0,
        box=None if box is None else box.tolist(),
        number_density=None,
        shortest_distances=[[0.3, 0.2], [0.2, None]],
        terms=[term for term in terms if term.kind in kinds],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Denoiser(header)  # e3nn's weights are standard normal
        for module in model.model.energies:
            if hasattr(module, "coefficients"):
                module.coefficients[:, :-3] = 3 * torch.randn(3, module.n_basis - 3, dtype=torch.float64)
    return model


def denoiser(head="energy", precision="single", box="cubic", kinds=KINDS):
    """A denoiser with weights that nothing was learnt from, but forces of the size of learnt ones; shared."""
    model = _denoiser(head, box, tuple(kinds))
    model.model.to(torch.float64 if precision == "double" else torch.float32)
    for module in model.model.energies:
        if hasattr(module, "coefficients"):
            module.double()  # as training leaves it
    return model


@functools.cache
def licl_frames():
    return Frames.load(Path(__file__).parents[2] / "examples" / "licl" / "licl.npz")[:20]


def frames(n=1):
    """Positions (n, 48, 3), nm."""
    return licl_frames().positions[:n].astype(float)


def assert_close(forces, expected, tolerance):
    scale = np.abs(expected).max()
    assert scale > 1, "no forces to compare"
    np.testing.assert_allclose(forces, expected, rtol=0, atol=tolerance * scale)


def cluster():
    """An isolated drop of ten ions."""
    positions = frames()[0]
    near = np.linalg.norm(positions - positions[5], axis=1).argsort()[:10]
    return positions[near], SPECIES[near]


# ---- forces


@pytest.mark.parametrize("box", ["cubic", "triclinic", "none"])
@pytest.mark.parametrize("kind", ["coulomb", "wall", "pair", "network"])
def test_force_is_minus_the_gradient_of_the_energy(box, kind):
    model, step = denoiser("energy", "double", box=box, kinds=(kind,)), 1e-6
    positions = frames()[0]
    shifted, index = [], [(i, axis) for i in (0, 11, 30, 47) for axis in range(3)]
    for i, axis in index:
        for sign in (1, -1):
            shifted.append(positions.copy())
            shifted[-1][i, axis] += sign * step
    energies = model.energy(np.array(shifted)).reshape(-1, 2)
    expected = -(energies[:, 0] - energies[:, 1]) / (2 * step)
    forces = np.array([model.forces(positions)[i] for i in index])
    np.testing.assert_allclose(forces, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(model.forces(positions)).max() > 1


@HEADS
@PRECISIONS
@pytest.mark.parametrize("kind", ["pair", "network"])
def test_learnt_forces_have_no_net_force(head, precision, kind):
    forces = denoiser(head, precision, kinds=(kind,)).forces(frames(5))
    assert np.abs(forces).max() > 1
    assert np.abs(forces.sum(1)).max() < (1e-5 if precision == "single" else 1e-11) * np.abs(forces).max()


@HEADS
@PRECISIONS
@pytest.mark.parametrize("box", ["cubic", "triclinic"])
def test_moving_particles_by_box_vectors_and_all_of_them_by_anything_changes_nothing(head, precision, box):
    model, positions = denoiser(head, precision, box=box), frames()[0]
    vectors = np.array(model.header.box)
    moved = positions + np.random.default_rng(0).integers(-2, 3, positions.shape) @ vectors + [0.3, -1.7, 5.1]
    assert_close(model.forces(moved), model.forces(positions), TOLERANCE[precision])


@HEADS
@PRECISIONS
def test_an_isolated_drop_may_be_turned_and_reflected(head, precision):
    positions, species = cluster()
    model = denoiser(head, precision)
    expected = model.forces(positions, box=False, species=species)
    for sign, turn in zip((1, -1), Rotation.random(2, rng=0).as_matrix()):
        turn = sign * turn
        turned = model.forces(positions @ turn.T, box=False, species=species)
        assert_close(turned, expected @ turn.T, TOLERANCE[precision])
    assert np.abs(model.subset(["coulomb"]).forces(positions, box=False, species=species)).max() > 1


@HEADS
@PRECISIONS
def test_like_particles_are_interchangeable(head, precision):
    model, positions, species = denoiser(head, precision), frames()[0], SPECIES
    order = np.random.default_rng(0).permutation(48)
    permuted = model.forces(positions[order], species=species[order])
    assert_close(permuted, model.forces(positions)[order], TOLERANCE[precision])


@HEADS
def test_subsets_add_up_to_the_whole(head):
    model, positions = denoiser(head), frames(2)
    parts = [model.subset([kind]) for kind in ("coulomb", "wall", "pair", "network")]
    assert_close(sum(part.forces(positions) for part in parts), model.forces(positions), 5e-6)
    for part in parts:
        assert np.abs(part.forces(positions)).max() > 1
    if head == "energy":
        energies = sum(part.energy(positions) for part in parts)
        np.testing.assert_allclose(energies, model.energy(positions), rtol=1e-6)


@HEADS
def test_two_copies_of_half_the_weight_are_the_same_model(head):
    model = denoiser(head)
    halves = [t.model_copy(update={"weight": t.weight / 2}) for t in model.header.terms for _ in range(2)]
    doubled = Denoiser(model.header.model_copy(update={"terms": halves}))
    for name in ("energies", "vectors"):
        for i, old in enumerate(getattr(model.model, name)):
            for copy in (2 * i, 2 * i + 1):
                getattr(doubled.model, name)[copy].load_state_dict(old.state_dict())
    assert_close(doubled.forces(frames(2)), model.forces(frames(2)), 1e-6)


def test_a_weight_multiplies_its_term():
    model = denoiser("vector", kinds=("network",))
    (term,) = model.header.terms
    tripled = Denoiser(model.header.model_copy(update={"terms": [term.model_copy(update={"weight": 3 * term.weight})]}))
    tripled.model.load_state_dict(model.model.state_dict())
    assert_close(tripled.forces(frames()), 3 * model.forces(frames()), 1e-6)


@HEADS
def test_denoised_is_y_plus_sigma_squared_times_force_over_kT(head):
    model = denoiser(head)
    y = frames(2) + 7.0  # far outside the cell: D is in the image of y
    expected = y + 0.005**2 * model.forces(y) / thermal_energy(300)
    np.testing.assert_allclose(model.denoised(y), expected, rtol=0, atol=1e-12)
    assert 1e-4 < np.abs(expected - y).max() < 0.3
    assert model.sigma == 0.005


# ---- shapes, boxes, units


def test_frames_of_any_leading_shape_are_evaluated_alike():
    model = denoiser()
    many = np.concatenate([frames(20)] * 4)[:70]  # more than one chunk
    forces, energies = model.forces(many), model.energy(many)
    assert forces.shape == (70, 48, 3) and energies.shape == (70,)
    one = model.forces(many[67])
    assert one.shape == (48, 3) and np.shape(model.energy(many[67])) == ()
    assert_close(forces[67], one, 1e-5)
    folded = many.reshape(2, 35, 48, 3)
    np.testing.assert_array_equal(model.forces(folded), forces.reshape(2, 35, 48, 3))
    np.testing.assert_array_equal(model.energy(folded), energies.reshape(2, 35))


def test_every_frame_may_have_a_box_of_its_own():
    model, positions = denoiser(), frames(2)
    boxes = np.array(model.header.box) * np.array([1.0, 1.01])[:, None, None]
    together = model.forces(positions, boxes)
    for f in range(2):
        assert_close(together[f], model.forces(positions[f], boxes[f]), 1e-5)
    assert np.abs(together[1] - model.forces(positions[1])).max() > 0.1


@pytest.mark.parametrize("other", ["triclinic", "none"])
def test_in_another_box_the_ewald_sum_is_that_of_the_other_box(other):
    positions = frames()[0]
    moved = denoiser(box=other, kinds=("coulomb", "pair")).forces(positions, BOX)
    assert_close(moved, denoiser(kinds=("coulomb", "pair")).forces(positions), 1e-9)


def test_quantities_are_accepted():
    model, positions = denoiser(), frames()[0]
    in_angstrom = unit.Quantity(10 * positions, unit.angstrom)
    box = unit.Quantity(10 * np.array(model.header.box), unit.angstrom)
    assert_close(model.forces(in_angstrom, box), model.forces(positions), 1e-5)


def test_positions_are_not_modified():
    positions = frames()[0] + 10
    kept = positions.copy()
    denoiser().forces(positions)
    np.testing.assert_array_equal(positions, kept)


# ---- the file


@HEADS
def test_saved_and_loaded_forces_agree_bit_for_bit(head, tmp_path):
    model = denoiser(head)
    model.save(tmp_path / "model.safetensors")
    back = Denoiser.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(back.forces(frames(2)), model.forces(frames(2)))
    assert back.header.model_copy(update={"versions": {}}) == model.header
    assert back.conservative == (head == "energy")
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"], "no partial file stays"


def test_header_is_json_that_says_what_the_model_is():
    data = denoiser().to_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["openmm_diffusion"]
    header = json.loads(header)
    assert (header["temperature"], header["species"], header["format"]) == (300.0, ["Li", "Cl"], 2)
    assert header["units"] == {"length": "nm", "energy": "kJ/mol", "temperature": "K", "charge": "e"}
    assert {"openmm_diffusion", "torch", "e3nn", "openmm", "python"} <= set(header["versions"])
    assert [term["kind"] for term in header["terms"]] == ["coulomb", "wall", "pair", "network"]
    np.testing.assert_allclose(header["box"], BOX)


def with_header(change):
    """A model file whose header was changed by hand."""
    data = denoiser(kinds=("coulomb", "pair")).to_bytes()
    tensors = safetensors.torch.load(data)
    text = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["openmm_diffusion"]
    header = json.loads(text)
    change(header)
    return safetensors.torch.save(tensors, {"openmm_diffusion": json.dumps(header)})


@pytest.mark.parametrize("kept", [0, 4, 200, -100, -1])
def test_truncated_files_are_refused(tmp_path, kept):
    path = tmp_path / "half.safetensors"
    path.write_bytes(denoiser().to_bytes()[:kept])
    with pytest.raises(ValueError, match="half.safetensors is truncated or not a model file"):
        Denoiser.load(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors.torch.save({"weights": torch.zeros(3)}))
    with pytest.raises(ValueError, match="without an openmm_diffusion header"):
        Denoiser.load(path)
    path.write_text("hello, this is not a model file at all")
    with pytest.raises(ValueError, match="truncated or not a model file"):
        Denoiser.load(path)
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors"):
        Denoiser.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("keys", [{}, {"a_key_of_the_future": 1}])
def test_newer_formats_ask_for_an_upgrade(keys):
    data = with_header(lambda header: header.update(format=99, **keys))
    with pytest.raises(ValueError, match="format 99, newer than 2: upgrade"):
        Denoiser.from_bytes(data)


def test_damaged_headers_and_weights_are_refused():
    with pytest.raises(ValueError, match="header that cannot be read .*temperature"):
        Denoiser.from_bytes(with_header(lambda header: header.pop("temperature")))
    with pytest.raises(ValueError, match="weights that do not fit its header"):
        Denoiser.from_bytes(with_header(lambda header: header["terms"][1].update(spacing=0.02)))


# ---- what is refused


def test_wrong_configurations_are_refused():
    model, positions = denoiser(), frames()[0]
    broken = positions.copy()
    broken[3, 1] = np.nan
    for wrong, message in (
        (broken, "NaN or Inf"),
        (positions[:, :2], r"\(48, 2\)"),
        (positions.ravel(), r"\(144,\)"),
        (positions[:-1], "48 entries for 47 particles"),
    ):
        with pytest.raises(ValueError, match=message):
            model.forces(wrong)
        with pytest.raises(ValueError, match=message):
            model.energy(wrong)


def test_unknown_species_are_named():
    species = SPECIES.copy()
    species[:2] = 11
    with pytest.raises(ValueError, match="species Na unknown to the model, which was trained on Li, Cl"):
        denoiser().forces(frames()[0], species=species)


def test_boxes_that_are_too_small_or_no_boxes_are_refused():
    model, positions = denoiser(), frames()[0]
    with pytest.raises(ValueError, match="the model's cutoff is .* over half the box"):
        model.forces(positions, 0.7 * BOX)
    with pytest.raises(ValueError, match="box has shape"):
        model.forces(positions, np.ones(3))
    with pytest.raises(ValueError, match="NaN"):
        model.forces(positions, np.full((3, 3), np.nan))


def test_a_vector_head_has_no_energy():
    model = denoiser("vector")
    assert not model.conservative
    with pytest.raises(TypeError, match="no energy"):
        model.energy(frames()[0])
    assert np.isfinite(model.subset(["coulomb", "wall", "pair"]).energy(frames()[0]))


def test_pair_terms_of_the_same_knots_are_joined():
    one = denoiser(kinds=("coulomb", "pair"))
    coulomb, pair = one.header.terms
    terms = [coulomb, pair.model_copy(update={"weight": 4 / 3}), pair.model_copy(update={"weight": -1 / 3})]
    two = one.rebuilt(terms, [*one.modules(), one.modules()[1]])
    two.modules()[2].coefficients.mul_(0.5)
    joined = merged(two)
    assert [term.kind for term in joined.header.terms] == ["coulomb", "pair"]
    assert_close(joined.forces(frames(2)), two.forces(frames(2)), 1e-10)
    assert merged(joined) is joined
    learnt = one.forces(frames(2)) - one.subset(["coulomb"]).forces(frames(2))
    expected = one.subset(["coulomb"]).forces(frames(2)) + (4 / 3 - 1 / 6) * learnt
    assert_close(two.forces(frames(2)), expected, 1e-10)
