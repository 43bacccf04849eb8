"""Particles that are beads: types, masses and bonds of frames, kept through indexing, joining, files and topologies."""

import mdtraj
import numpy as np
import pytest
from openmm import app, unit

from openmm_diffusion import Frames, particles

TYPES = ["Qd", "P4", "P4", "C1", "Na"]
NUMBERS = [0, 0, 0, 0, 11]
BONDS = [[3, 0], [1, 0], [0, 1]]


def beads(n_frames=4, **changes):
    rng = np.random.default_rng(5)
    fields = dict(
        positions=rng.uniform(0, 2, (n_frames, 5, 3)), species=NUMBERS, box=2 * np.eye(3), temperature=310.0,
        types=TYPES, bonds=BONDS, masses=[72, 72, 72, 45, np.nan], bias_forces=rng.normal(size=(n_frames, 5, 3)),
    )  # fmt: skip
    return Frames(**fields | changes)


def test_ions_are_their_element_symbols():
    frames = Frames(np.zeros((1, 3, 3)), [3, 17, 11], None, 300.0)
    assert frames.types.tolist() == frames.symbols == ["Li", "Cl", "Na"]
    np.testing.assert_allclose(frames.masses, [6.941, 35.453, 22.990], atol=1e-3)  # IUPAC 2007, as OpenMM has them
    assert frames.bonds is None and frames.bias_forces is None


def test_types_alone_say_which_are_elements():
    for types, numbers in (
        (["Ca", "Cl", "Cl"], [20, 17, 17]),
        (["CA", "Cl", "Cl"], [0, 0, 0]),  # a C-alpha is no calcium, so Cl may be anything
        (["Na", "P4", "C1"], [0, 0, 0]),  # beads of Martini, all of them
        (["W", "W", "W"], [0, 0, 0]),  # water to all but metallurgists
        (["W", "O", "O"], [74, 8, 8]),
    ):
        frames = Frames(np.zeros((1, 3, 3)), types, None, 300.0)
        assert frames.species.tolist() == numbers and frames.types.tolist() == types


def test_a_bead_may_be_named_as_an_element():
    # W is tungsten, and one-bead water to everyone else.
    frames = Frames(np.zeros((1, 2, 3)), [0, 0], None, 300.0, types=["W", "W"], masses=[18.015, 18.015])
    assert frames.symbols == ["", ""] and frames.masses.tolist() == [18.015] * 2
    assert [atom.element for atom in frames.topology().atoms()] == [None] * 2
    assert particles.atom_types(frames.topology().atoms(), known=["W"], elements=False) == ["W", "W"]


def test_beads_keep_what_is_known_of_them():
    frames = beads()
    assert frames.bonds.tolist() == [[0, 1], [0, 3]]  # each once, the lower index first
    np.testing.assert_allclose(frames.masses, [72, 72, 72, 45, 22.98977], rtol=1e-6)


@pytest.mark.parametrize("change", [lambda f: f[1:3], lambda f: Frames.concatenate([f, f]), lambda f: f.split(0.3)[1]])
def test_a_choice_of_frames_is_of_the_same_particles(change):
    frames = beads()
    other = change(frames)
    assert other.same_particles(frames)
    np.testing.assert_array_equal(other.masses, frames.masses)
    assert other.bias_forces.shape == other.positions.shape


def test_joining_keeps_the_bias_of_each_part():
    free = beads(3, bias_forces=None)
    both = Frames.concatenate([free, beads()])
    assert (both.bias_forces[:3] == 0).all() and (both.bias_forces[3:] == beads().bias_forces).all()


def test_the_file_holds_beads_and_bonds(tmp_path):
    frames = beads()
    frames.save(tmp_path / "beads.npz")
    back = Frames.load(tmp_path / "beads.npz")
    for name, value in vars(frames).items():
        np.testing.assert_array_equal(getattr(back, name), value, err_msg=name)
    with np.load(tmp_path / "beads.npz") as arrays:
        assert set(arrays) == {
            "positions", "atomic_numbers", "types", "bonds", "masses", "box", "temperature", "bias_forces", "replica",
            "format",
        }  # fmt: skip


def test_a_file_of_ions_holds_no_types(tmp_path):
    Frames(np.zeros((1, 2, 3)), [3, 17], None, 300.0).save(tmp_path / "ions.npz")
    with np.load(tmp_path / "ions.npz") as arrays:
        assert set(arrays) == {"positions", "atomic_numbers", "temperature", "replica", "format"}


def test_digest_follows_types_and_bonds():
    digests = [frames.digest() for frames in (beads(), beads(bonds=None), beads(types=["Qa", *TYPES[1:]]))]
    assert len(set(digests)) == 3
    ions = dict(species=[3, 3, 17, 17, 11], masses=None)
    plain, named = beads(types=None, **ions), beads(types=["Li", "Li", "Cl", "Cl", "Na"], **ions)
    assert plain.digest() == named.digest()  # nothing is said that the elements do not say


def test_topologies_name_beads_and_bonds():
    topology = beads().topology()
    assert [atom.name for atom in topology.atoms()] == TYPES
    assert [atom.element and atom.element.symbol for atom in topology.atoms()] == [None] * 4 + ["Na"]
    assert [(a.index, b.index) for a, b in topology.bonds()] == [(0, 1), (0, 3)]
    assert beads().to_mdtraj().topology.n_bonds == 2
    assert particles.atom_types(topology.atoms(), known=TYPES) == TYPES


def test_a_type_of_residue_and_name_is_an_atom_in_a_residue():
    topology = particles.topology_of(["ALA:CA", "GLY:CA"])
    assert [(atom.name, atom.residue.name) for atom in topology.atoms()] == [("CA", "ALA"), ("CA", "GLY")]
    assert particles.atom_types(topology.atoms(), known=["GLY:CA", "ALA:CA"]) == ["ALA:CA", "GLY:CA"]


def test_of_two_types_that_an_atom_may_be_the_one_that_says_more_is_taken():
    kinds = ["O", "H:O", "ALA:CA", "CA"]
    assert particles.atom_types(particles.topology_of(kinds).atoms(), known=kinds) == kinds


@pytest.mark.parametrize("library", ["openmm", "mdtraj"])
def test_what_an_atom_is_called(library):
    topology = app.Topology()
    residue = topology.addResidue("ALA", topology.addChain())
    topology.addAtom("N", app.element.nitrogen, residue)
    topology.addAtom("CA", app.element.carbon, residue)
    if library == "mdtraj":
        topology = mdtraj.Topology.from_openmm(topology)
    atoms = list(topology.atoms() if library == "openmm" else topology.atoms)
    assert particles.atom_types(atoms) == particles.atom_types(atoms, "element") == ["N", "C"]
    assert particles.atom_types(atoms, "name") == ["N", "CA"]
    assert particles.atom_types(atoms, "residue:name") == ["ALA:N", "ALA:CA"]
    assert particles.atom_types(atoms, ["X", "Y"]) == ["X", "Y"]
    # A model of elements knows atoms by their element, one of beads by their name.
    assert particles.atom_types(atoms, known=["C", "N"]) == ["N", "C"]
    assert particles.atom_types(atoms, known=["CA", "N"]) == ["N", "CA"]
    with pytest.raises(ValueError, match="types has 1 entries for 2 atoms"):
        particles.atom_types(atoms, ["X"])
    with pytest.raises(ValueError, match="types is 'residue': choose element, name, residue:name"):
        particles.atom_types(atoms, "residue")


def test_an_element_that_is_missing_is_asked_for():
    atoms = list(beads().topology().atoms())
    with pytest.raises(ValueError, match=r"4 atoms without an element \(first: atom 0, Qd of MOL\).*types='name'"):
        particles.atom_types(atoms, "element")


def test_order_is_by_element_then_by_name():
    assert particles.ordered(["Qd", "Cl", "Li", "P4", "Cl", "CA"]) == ["Li", "Cl", "CA", "P4", "Qd"]


def test_pairs_of_types_with_hyphens():
    assert particles.pair_of("Li-Cl", ["Li", "Cl"]) == ("Li", "Cl")
    assert particles.pair_of("NA+-CL-", ["NA+", "CL-"]) == ("NA+", "CL-")
    assert particles.pair_of("CL--CL-", ["NA+", "CL-"]) == ("CL-", "CL-")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"types": None}, "species holds 0.*needs types"),
        ({"types": TYPES[:4]}, r"types has shape \(4,\).*give 5 strings"),
        ({"types": ["", *TYPES[1:]]}, "types holds ''.*1 to 16 printable characters"),
        ({"types": ["a bead", *TYPES[1:]]}, "types holds 'a bead'"),
        ({"types": ["x" * 17, *TYPES[1:]]}, "types holds 'xxx"),
        ({"types": [*TYPES[:4], "Li"]}, "types holds 'Li', the symbol of an element, for a particle of species 11"),
        ({"types": [1, 2, 3, 4, 5]}, "types has shape .* give 5 strings"),
        ({"bonds": [[0, 5]]}, r"bonds holds \(0, 5\): give two different indices from 0 to 4"),
        ({"bonds": [[2, 2]]}, r"bonds holds \(2, 2\)"),
        ({"bonds": [0, 1]}, r"bonds has shape \(2,\)"),
        ({"bonds": [[0.5, 1]]}, "bonds has shape .* give pairs of indices"),
        ({"masses": [1, 2]}, r"masses has shape \(2,\): give 5 masses in amu"),
        ({"masses": [0, 1, 1, 1, 1]}, "masses holds 0 amu: give positive masses"),
        ({"masses": np.ones(5) * unit.nanometer}, "masses are in nanometer: give them in amu"),
        ({"bias_forces": np.zeros((4, 4, 3))}, r"bias_forces has shape \(4, 4, 3\)"),
        ({"bias_forces": np.full((4, 5, 3), np.nan)}, "bias_forces holds NaN"),
    ],
)
def test_impossible_particles_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        beads(**change)
