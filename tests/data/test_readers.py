"""npz archives and extended XYZ under the names, units and spellings that people use."""

import logging

import numpy as np
import pytest
from files import grid

from openmm_diffusion import Frames
from openmm_diffusion.data import extxyz
from openmm_diffusion.data.extxyz import header, iterate_extxyz, read_extxyz
from openmm_diffusion.data.formats.cells import flags
from openmm_diffusion.data.formats.labels import forces_name

# 1 eV in kJ/mol: the SI's exact elementary charge (C) times its Avogadro constant (1/mol).
EV = 1.602176634e-19 * 6.02214076e23 / 1000
BOHR, HARTREE = 0.0529177210903, 2625.4996394799  # nm and kJ/mol, CODATA 2018
EDGE, SYMBOLS, NUMBERS = 1.2, ["Li"] * 4 + ["Cl"] * 4, np.array([3] * 4 + [17] * 4)
X = grid(8, EDGE, 6)
F = np.random.default_rng(5).normal(0, 40, X.shape)  # kJ/mol/nm
TILTED = np.array([[1.2, 0.0, 0.0], [0.3, 1.1, 0.0], [-0.2, 0.25, 1.3]])


def write_xyz(path, comment="", columns=(), x=X, lattice=True, symbols=SYMBOLS, name="Properties"):
    """Columns as (name, kind, width, values); the comment goes behind Lattice and Properties."""
    properties = ":".join(["species:S:1:pos:R:3", *(f"{name}:{kind}:{width}" for name, kind, width, _ in columns)])
    with open(path, "w") as file:
        for k, frame in enumerate(10 * x):
            cell = f'Lattice="{10 * EDGE} 0 0 0 {10 * EDGE} 0 0 0 {10 * EDGE}" ' if lattice else ""
            file.write(f"{len(frame)}\n{cell}{name}={properties} {comment}\n")
            for i, symbol in enumerate(symbols):
                more = [np.atleast_1d(values[k][i]) for *_, values in columns]
                file.write(f"{symbol} " + " ".join(f"{value}" for row in (frame[i], *more) for value in row) + "\n")
    return path


LABELS = F * 0.1 / EV


@pytest.fixture(params=["with ASE", "without ASE"])
def reader(request, monkeypatch):
    """Both ways into an extended XYZ file: the result must not depend on what is installed."""
    if request.param == "with ASE":
        pytest.importorskip("ase")
    else:
        monkeypatch.setattr(extxyz, "_through_ase", lambda *arguments: None)
    return request.param


# ---- forces under many names

NAMES = [
    "forces", "Forces", "force", "REF_forces", "ref_force", "dft_forces", "DFT_forces", "forces_dft", "forces_ref",
    "MACE_forces", "nequip_forces", "atomic_forces", "total_forces", "F", "frc",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_forces_of_xyz_under_the_names_people_use(tmp_path, reader, name):
    path = write_xyz(tmp_path / "a.xyz", columns=[(name, "R", 3, LABELS), ("charge", "R", 1, LABELS[..., 0])])
    frames = Frames.load(path, temperature=300)
    np.testing.assert_allclose(frames.forces, F, rtol=1e-5)
    np.testing.assert_allclose(frames.positions, X, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_forces_of_npz_under_the_names_people_use(tmp_path, name):
    arrays = {"R": 10 * X, "z": NUMBERS, "cell": 10 * EDGE * np.eye(3), name: LABELS}
    np.savez(tmp_path / "a.npz", **arrays)
    np.testing.assert_allclose(Frames.load(tmp_path / "a.npz", temperature=300).forces, F, rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["forces_std", "force_mask", "F_max", "forces_weight", "velocities", "dipoles", "force_norm", "electric_field"],
)
def test_what_is_no_label_is_named_and_left_out(tmp_path, reader, name, caplog):
    path = write_xyz(tmp_path / "a.xyz", columns=[(name, "R", 3, LABELS)])
    with caplog.at_level(logging.INFO, "openmm_diffusion"):
        assert Frames.load(path, temperature=300).forces is None
    assert len([1 for record in caplog.records if name in record.getMessage()]) == 1


def test_two_candidates_are_an_error_unless_one_is_chosen(tmp_path, reader):
    path = write_xyz(tmp_path / "a.xyz", columns=[("REF_forces", "R", 3, LABELS), ("MACE_forces", "R", 3, 2 * LABELS)])
    with pytest.raises(ValueError, match="forces under 2 names, MACE_forces and REF_forces: say which .*forces_key="):
        Frames.load(path, temperature=300)
    for name, factor in (("REF_forces", 1), ("MACE_forces", 2)):
        np.testing.assert_allclose(Frames.load(path, 300, forces_key=name).forces, factor * F, rtol=1e-5)
    with pytest.raises(ValueError, match="forces_key is 'dft', but .*a.xyz has MACE_forces, REF_forces: name one"):
        Frames.load(path, 300, forces_key="dft")
    np.savez(tmp_path / "a.npz", R=10 * X, z=NUMBERS, F=LABELS, forces=2 * LABELS)
    with pytest.raises(ValueError, match="forces under 2 names, F and forces"):
        Frames.load(tmp_path / "a.npz", temperature=300)
    np.testing.assert_allclose(Frames.load(tmp_path / "a.npz", 300, forces_key="F").forces, F, rtol=1e-5)


def test_a_column_that_only_its_user_knows(tmp_path, reader):
    path = write_xyz(tmp_path / "a.xyz", columns=[("pull", "R", 3, LABELS)])
    assert Frames.load(path, 300).forces is None
    np.testing.assert_allclose(Frames.load(path, 300, forces_key="pull").forces, F, rtol=1e-5)


def test_constraints_do_not_touch_forces(tmp_path, reader):
    # ASE reads move_mask as constraints, and its calculator sets forces of fixed atoms to zero.
    mask = np.full(X.shape[:2], "F")
    path = write_xyz(tmp_path / "a.xyz", columns=[("forces", "R", 3, LABELS), ("move_mask", "L", 1, mask)])
    np.testing.assert_allclose(Frames.load(path, 300).forces, F, rtol=1e-5)


def test_names_of_labels():
    assert forces_name(["positions", "energy", "stress"], None, "x") is None
    assert forces_name(["bias_forces", "forces"], None, "x") == "forces"


# ---- periodicity

PERIODIC = [
    'pbc="T T T"', "pbc=[T, T, T]", "pbc=[T,T,T]", "pbc=TTT", "pbc=[True,True,True]", "pbc=[true, true, true]",
    'pbc="1 1 1"', "pbc=[1, 1, 1]", "pbc=T", "pbc={T T T}", "pbc='T T T'", 'pbc="True True True"',
    'pbc="TRUE TRUE TRUE"', "pbc = [T, T, T]", 'PBC="T T T"', 'periodic="T T T"', "pbc=true",
    'pbc="[T, T, T]"', "pbc=111", "",
]  # fmt: skip


@pytest.mark.parametrize("spelling", PERIODIC)
def test_spellings_of_periodic(tmp_path, reader, spelling):
    frames = Frames.load(write_xyz(tmp_path / "a.xyz", spelling), temperature=300)
    np.testing.assert_allclose(frames.box, EDGE * np.eye(3))


@pytest.mark.parametrize(
    "spelling", ['pbc="F F F"', "pbc=FFF", "pbc=[F, F, F]", "pbc=F", 'pbc="0 0 0"', "pbc={false false false}"]
)
def test_spellings_of_free(tmp_path, reader, spelling):
    assert Frames.load(write_xyz(tmp_path / "a.xyz", spelling), temperature=300).box is None


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ('pbc="T T F"', "periodic along some axes only"),
        ("pbc=TFT", "periodic along some axes only"),
        ("pbc=maybe", "periodicity in its comment line is 'maybe': give pbc="),
        ('pbc="T T"', 'give pbc="T T T"'),
    ],
)
def test_periodicity_that_is_refused(tmp_path, reader, spelling, message):
    with pytest.raises(ValueError, match=message):
        Frames.load(write_xyz(tmp_path / "a.xyz", spelling), temperature=300)


def test_flags_of_arrays():
    for value in (True, np.True_, [1, 1, 1], np.ones(3, bool), ["T", "T", "T"], np.array("T T T")):
        assert flags(value, "x").tolist() == [True] * 3, value
    assert flags(np.array([0.0, 1.0, 0.0]), "x").tolist() == [False, True, False]


@pytest.mark.parametrize("key", ["Lattice", "lattice", "LATTICE", "cell", "Cell"])
def test_spellings_of_the_lattice(tmp_path, reader, key):
    rows = " ".join(str(value) for value in (10 * TILTED).ravel())
    path = write_xyz(tmp_path / "a.xyz", f'{key}="{rows}" pbc="T T T"', lattice=False)
    np.testing.assert_allclose(Frames.load(path, temperature=300).box, TILTED, rtol=1e-12)


def test_an_edge_for_each_axis(tmp_path, reader):
    path = write_xyz(tmp_path / "a.xyz", 'cell="12 13 14"', lattice=False)
    np.testing.assert_allclose(Frames.load(path, temperature=300).box, np.diag([1.2, 1.3, 1.4]))
    path = write_xyz(tmp_path / "a.xyz", 'cell="13 13 13"')
    with pytest.raises(ValueError, match="two cells that differ, Lattice and cell"):
        Frames.load(path, temperature=300)


def test_the_box_of_the_argument(tmp_path, reader):
    path = write_xyz(tmp_path / "a.xyz", lattice=False)
    assert Frames.load(path, 300).box is None
    np.testing.assert_allclose(Frames.load(path, 300, box=[EDGE] * 3).box, EDGE * np.eye(3))
    with pytest.raises(
        ValueError, match=r"box is given with edges 2 x 2 x 2 nm, but .*a.xyz has a box of its own, 1.2"
    ):
        Frames.load(write_xyz(tmp_path / "a.xyz"), 300, box=2 * np.eye(3))


# ---- other keys and columns


def test_energies_and_stresses_are_named_once(tmp_path, reader, caplog):
    comment = 'energy=-3.2 virial="1 0 0 0 1 0 0 0 1" stress="0 0 0 0 0 0 0 0 0" free_energy=-1 config_type=md'
    with caplog.at_level(logging.INFO, "openmm_diffusion"):
        frames = Frames.load(write_xyz(tmp_path / "a.xyz", comment), temperature=300)
    assert frames.forces is None
    (said,) = [record for record in caplog.records if "energy" in record.getMessage()]
    assert said.levelno == logging.INFO and "stress" in said.getMessage() and "virial" in said.getMessage()
    with caplog.at_level(logging.INFO, "openmm_diffusion"):
        Frames.load(write_xyz(tmp_path / "b.xyz", "flavour=sour energy=1"), temperature=300)
    assert caplog.records[-1].levelno == logging.WARNING and "not understood and left out: flavour" in caplog.text


def test_units_of_xyz(tmp_path, reader):
    path = write_xyz(tmp_path / "a.xyz", "e_unit=kcal/mol r_unit=Ang", [("forces", "R", 3, F / 41.84)])
    np.testing.assert_allclose(Frames.load(path, 300).forces, F, rtol=1e-5)  # 1 kcal = 4.184 kJ
    path = write_xyz(tmp_path / "a.xyz", "units=SI", [("forces", "R", 3, F)])
    with pytest.raises(ValueError, match="units=SI, which is not understood"):
        Frames.load(path, 300)


def test_columns_of_elements(tmp_path, reader):
    path = tmp_path / "a.xyz"
    for properties, row in (
        ("Z:I:1:pos:R:3", "11 1.0 2.0 3.0"),
        ("pos:R:3:species:S:1", "1.0 2.0 3.0 Na"),
        ("element:S:1:pos:R:3", "Na 1.0 2.0 3.0"),
        ("id:I:1:species:S:1:positions:R:3", "7 NA 1.0 2.0 3.0"),
    ):
        path.write_text(f"1\nProperties={properties}\n{row}\n")
        frames = Frames.load(path, 300)
        assert frames.symbols == ["Na"], properties
        np.testing.assert_allclose(frames.positions, [[[0.1, 0.2, 0.3]]], rtol=1e-6)
    path.write_text("1\nAtoms. Timestep: 100\n1 1.0 2.0 3.0\n")
    with pytest.raises(ValueError, match="types of LAMMPS such as '1', not elements"):
        Frames.load(path, 300)


def test_blank_lines_lose_no_frame(tmp_path, reader):
    (tmp_path / "a.xyz").write_text("1\n\nLi 0 0 0\n\n1\n\nLi 0 0 1\n\n\n")
    assert len(Frames.load(tmp_path / "a.xyz", 300)) == 2


# ---- the two readers of extended XYZ


def random_comment(rng):
    """Keys and values in all the ways of quoting that ASE's writer and libAtoms use."""
    quotes = ['"{}"', "'{}'", "{{{}}}", "[{}]"]
    parts = []
    for key in rng.permutation(["energy", "config_type", "tag", "virial", "note", "n-1", "flag"])[: rng.integers(0, 6)]:
        value = {
            "energy": f"{rng.normal():.6f}", "config_type": "bulk", "flag": "T", "n-1": str(rng.integers(9)),
            "virial": rng.choice(quotes).format(" ".join(f"{v:.3f}" for v in rng.normal(size=9))),
            "tag": rng.choice(quotes).format("two words"), "note": '"a \\"quoted\\" = word"',
        }[key]  # fmt: skip
        parts.append(f"{key}{rng.choice(['=', ' = ', '= '])}{value}")
    parts += ["bare"] * rng.integers(0, 2)
    return parts


def random_file(path, rng):
    n, n_frames = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    columns = [
        ("species", "S", 1),
        ("pos", "R", 3),
        ("forces", "R", 3),
        ("mass", "R", 1),
        ("tags", "I", 1),
        ("fixed", "L", 1),
    ]
    columns = [columns[0], columns[1], *[c for c in columns[2:] if rng.random() < 0.5]]
    columns = [columns[i] for i in rng.permutation(len(columns))]
    symbols = rng.choice(["Li", "Cl", "H", "O", "Br"], n)
    cell = np.diag(rng.uniform(8, 20, 3)) + np.tril(rng.uniform(-1, 1, (3, 3)), -1)
    lattice, periodic = (
        rng.random() < 0.7,
        rng.choice(["", 'pbc="T T T"', "pbc=[T, T, T]", 'pbc="F F F"', 'pbc="T F T"']),
    )
    with open(path, "w") as file:
        for _ in range(n_frames):
            parts = random_comment(rng)
            parts.append("Properties=" + ":".join(f"{name}:{kind}:{width}" for name, kind, width in columns))
            if lattice:
                parts.append('Lattice="' + " ".join(f"{v:.6f}" for v in cell.ravel()) + '"')
            if periodic:
                parts.append(periodic)
            file.write(f"{n}\n{' '.join(parts[i] for i in rng.permutation(len(parts)))}\n")
            for symbol in symbols:
                cells = {"S": [symbol], "I": [str(rng.integers(5))], "L": ["T"]}
                words = [cells.get(kind) or [f"{v:.8f}" for v in rng.normal(size=width)] for _, kind, width in columns]
                file.write("   ".join(word for row in words for word in row) + "\n")
    return columns


@pytest.mark.parametrize("seed", range(60))
def test_our_reader_agrees_with_ases_own(tmp_path, seed):
    """ASE alone, with its own parser, against our reader alone, on files that neither of them wrote."""
    io = pytest.importorskip("ase.io")
    rng = np.random.default_rng(seed)
    columns = random_file(tmp_path / "a.xyz", rng)
    theirs = io.read(tmp_path / "a.xyz", index=":", format="extxyz")
    ours = list(iterate_extxyz(tmp_path / "a.xyz"))
    assert len(ours) == len(theirs)
    for mine, atoms in zip(ours, theirs):
        np.testing.assert_array_equal(mine["species"], atoms.numbers)
        np.testing.assert_array_equal(mine["positions"], atoms.positions)
        if "cell" in mine:
            np.testing.assert_array_equal(mine["cell"], atoms.cell.array)
            np.testing.assert_array_equal(mine.get("pbc", [True] * 3), atoms.pbc)
        else:
            assert not atoms.cell.array.any()
        assert ("forces" in mine["columns"]) == ("forces" in [name for name, *_ in columns])
        if "forces" in mine["columns"]:
            np.testing.assert_array_equal(mine["columns"]["forces"], atoms.calc.results["forces"])


@pytest.mark.parametrize("seed", range(60, 100))
def test_results_do_not_depend_on_ase(tmp_path, seed, monkeypatch):
    pytest.importorskip("ase")
    random_file(tmp_path / "a.xyz", np.random.default_rng(seed))
    assert extxyz._through_ase(tmp_path / "a.xyz", None) is not None, "ASE reads these files"
    one = read_extxyz(tmp_path / "a.xyz")
    monkeypatch.setattr(extxyz, "_through_ase", lambda *arguments: None)
    other = read_extxyz(tmp_path / "a.xyz")
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


@pytest.mark.parametrize("seed", range(40))
def test_keys_are_those_that_ase_finds(seed):
    parse = pytest.importorskip("ase.io.extxyz").key_val_str_to_dict
    comment = " ".join(random_comment(np.random.default_rng(seed)))
    theirs = {key: value for key, value in parse(comment).items() if value is not True or f"{key}" == "flag"}
    assert header(comment).keys() == theirs.keys()
    for key, value in header(comment).items():
        if isinstance(theirs[key], str):
            assert value == theirs[key]


def test_files_that_ase_writes(tmp_path, reader):
    ase = pytest.importorskip("ase")
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    images = []
    for k in range(3):
        atoms = ase.Atoms(SYMBOLS, positions=10 * X[k], cell=10 * TILTED, pbc=True, info={"replica": k // 2})
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=LABELS[k], stress=np.zeros(6))
        images.append(atoms)
    write(tmp_path / "a.extxyz", images)
    frames = Frames.load(tmp_path / "a.extxyz", 300)
    np.testing.assert_allclose(frames.positions, X[:3], atol=1e-7)
    np.testing.assert_allclose(frames.forces, F[:3], atol=1e-3)
    np.testing.assert_allclose(frames.box, TILTED, atol=1e-9)
    assert frames.replica.tolist() == [0, 0, 1]


# ---- npz


def load(tmp_path, **arrays):
    np.savez(tmp_path / "a.npz", **{key: value for key, value in arrays.items() if value is not None})
    return Frames.load(tmp_path / "a.npz", None if "temperature" in arrays else 300)


@pytest.mark.parametrize(
    ("positions", "numbers"),
    [("R", "z"), ("R", "Z"), ("pos", "z"), ("pos", "atomic_numbers"), ("positions", "numbers"), ("coords", "z")],
)
@pytest.mark.parametrize("cell", ["cell", "lattices", "lattice", "unit_cell"])
def test_archives_in_angstrom(tmp_path, positions, numbers, cell):
    frames = load(tmp_path, **{positions: 10 * X, numbers: NUMBERS, cell: 10 * EDGE * np.eye(3)}, pbc=np.ones(3, bool))
    np.testing.assert_allclose(frames.positions, X, rtol=1e-6)
    np.testing.assert_allclose(frames.box, EDGE * np.eye(3))
    assert frames.symbols == SYMBOLS


def test_archives_as_ase_keeps_them(tmp_path):
    cells = np.tile(10 * TILTED, (6, 1, 1))
    frames = load(
        tmp_path, positions=10 * X, numbers=NUMBERS, cell=cells, pbc=[True] * 3, forces=LABELS, energies=[0.0] * 6
    )
    np.testing.assert_allclose(frames.forces, F, rtol=1e-5)
    np.testing.assert_allclose(frames.box, TILTED)


@pytest.mark.parametrize("shape", [(3,), (9,), (3, 3), (6, 3), (6, 9), (6, 3, 3), (1, 3, 3)])
def test_shapes_of_cells(tmp_path, shape):
    cell = 10 * EDGE * np.eye(3)
    one = {(3,): np.diagonal(cell), (9,): cell.ravel()}.get(shape[-1:] if shape[-2:] != (3, 3) else None, cell)
    cell = np.broadcast_to(one, shape)
    np.testing.assert_allclose(load(tmp_path, R=10 * X, z=NUMBERS, cell=cell).box, EDGE * np.eye(3))


@pytest.mark.parametrize(
    ("r_unit", "length"), [("Ang", 0.1), ("Angstrom", 0.1), ("nm", 1.0), ("bohr", BOHR), ("Bohr", BOHR), (b"Ang", 0.1)]
)
@pytest.mark.parametrize(
    ("e_unit", "energy"),
    [("eV", EV), ("kcal/mol", 4.184), ("kJ/mol", 1.0), ("Ha", HARTREE), ("hartree", HARTREE), ("Hartree", HARTREE)],
)
def test_units_of_sgdml(tmp_path, r_unit, length, e_unit, energy):
    arrays = {"R": X / length, "F": F / (energy / length), "z": NUMBERS, "E": np.zeros(6), "r_unit": r_unit}
    frames = load(tmp_path, **arrays, e_unit=e_unit, type="d", theory="PBE", md5="0", name="x")
    np.testing.assert_allclose(frames.positions, X, rtol=1e-6)
    np.testing.assert_allclose(frames.forces, F, rtol=1e-5)


def test_the_lattice_of_sgdml_has_its_vectors_as_columns(tmp_path):
    frames = load(tmp_path, R=10 * X, z=NUMBERS, lattice=10 * TILTED.T, r_unit="Ang", e_unit="eV", F=LABELS)
    np.testing.assert_allclose(frames.box, TILTED)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"r_unit": "parsec", "e_unit": "eV"}, "length unit in .*a.npz is 'parsec', which is not known here: give Ang"),
        ({"e_unit": "eV/atom"}, "energy unit in .*a.npz is 'eV/atom'"),
        ({"units": "atomic"}, "holds units, which is not understood: name units as r_unit and e_unit"),
        # Data sets that are known to be in kcal/mol, and say nothing.
        (
            {"theory": "PBE", "md5": "0", "name": "ethanol", "type": "d"},
            r"forces \(F\) and does not say .*e_unit='kcal/mol'",
        ),
        ({"lattice": np.eye(3), "cell": np.eye(3)}, "cells under 2 names, cell and lattice"),
        ({"cell": np.ones((2, 3, 3))}, r"the cell in .*a.npz has shape \(2, 3, 3\)"),
        ({"R": np.array(["a", "b"])}, "holds no numbers in R: give an array"),
        ({"F": np.zeros((6, 8))}, r"holds F of shape \(6, 8\) beside positions of shape \(6, 8, 3\)"),
        ({"cell": np.array(["x"] * 9)}, "could not convert|holds no numbers"),
        ({"pbc": "x"}, "periodicity in .*a.npz"),
        ({"z": np.array(["Li", "Xx"] * 4)}, "'Xx' in z, which is no element symbol"),
    ],
)
def test_archives_that_are_refused(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **({"R": 10 * X, "z": NUMBERS, "F": LABELS} | arrays))


def test_revised_md17(tmp_path):
    arrays = {"coords": 10 * X, "nuclear_charges": NUMBERS, "energies": np.zeros(6), "forces": F / 41.84}
    with pytest.raises(ValueError, match=r"forces \(forces\) and does not say their unit"):
        load(tmp_path, **arrays)
    np.testing.assert_allclose(load(tmp_path, **arrays, e_unit="kcal/mol").forces, F, rtol=1e-5)
    assert load(tmp_path, **(arrays | {"forces": None})).forces is None, "positions alone need no unit of energy"


def test_units_of_lengths_alone_leave_those_of_energies_open(tmp_path):
    with pytest.raises(ValueError, match=r"forces \(F\) and does not say their unit; data sets with r_unit"):
        load(tmp_path, R=X, z=NUMBERS, F=F, r_unit="nm")


@pytest.mark.parametrize("prefix", ["arrays/", "arrays.", "arrays_", "_"])
def test_arrays_with_a_prefix(tmp_path, prefix):
    arrays = {"positions": 10 * X, "numbers": NUMBERS, "REF_forces": LABELS, "cell": 10 * EDGE * np.eye(3)}
    frames = load(tmp_path, **{prefix + key: value for key, value in arrays.items()})
    np.testing.assert_allclose(frames.positions, X, rtol=1e-6)
    np.testing.assert_allclose(frames.forces, F, rtol=1e-5)


def test_symbols_in_place_of_numbers(tmp_path):
    assert load(tmp_path, R=10 * X, z=np.array(SYMBOLS)).symbols == SYMBOLS


# ---- our own npz


def test_old_native_files_load(tmp_path):
    frames = load(tmp_path, positions=X, atomic_numbers=NUMBERS, box=EDGE * np.eye(3), temperature=300.0, forces=F)
    np.testing.assert_allclose(frames.forces, F, rtol=1e-6)
    assert frames.types.tolist() == SYMBOLS and frames.bonds is None


def test_native_files_with_beads(tmp_path):
    numbers = np.array([0] * 4 + [17] * 4)
    frames = load(
        tmp_path, positions=X, atomic_numbers=numbers, types=np.array(["P4"] * 4 + ["Cl"] * 4), bonds=[[0, 1]],
        format=2, bias_forces=F, masses=np.full(8, 72.0),
    )  # fmt: skip
    assert frames.types.tolist() == ["P4"] * 4 + ["Cl"] * 4 and frames.bonds.tolist() == [[0, 1]]
    np.testing.assert_allclose(frames.bias_forces, F, rtol=1e-6)
    assert frames.forces is None, "forces of a bias are no labels"


def test_native_files_of_the_future_and_of_two_minds(tmp_path, caplog):
    native = {"positions": X, "atomic_numbers": NUMBERS}
    with pytest.raises(ValueError, match="a.npz has format 99, this version reads up to 2: update"):
        load(tmp_path, **native, format=99)
    with pytest.raises(ValueError, match="our own keys in nm, beside cell: rename the cell to box"):
        load(tmp_path, **native, cell=10 * EDGE * np.eye(3))
    frames = load(
        tmp_path, positions=10 * X, atomic_numbers=NUMBERS, cell=10 * EDGE * np.eye(3), r_unit="Ang", e_unit="eV"
    )
    np.testing.assert_allclose(frames.box, EDGE * np.eye(3))
    with caplog.at_level(logging.WARNING, "openmm_diffusion"):
        frames = load(tmp_path, **native, REF_forces=F, colour="red")
    np.testing.assert_allclose(frames.forces, F, rtol=1e-6)
    assert "REF_forces, taken to be in kJ/mol/nm" in caplog.text and "left out: colour" in caplog.text


# ---- what was read wrong without a word, or refused without a reason


def rows_of(path, comment, rows, x=X, scale=10.0):
    """Frames with this comment line; rows are (symbol, what follows the position)."""
    with open(path, "w") as file:
        for frame in x * scale:
            file.write(f"{len(rows)}\n{comment}\n")
            for (name, more), place in zip(rows, frame):
                file.write(f"{name} " + " ".join(f"{value:.7f}" for value in place) + f" {more}\n")
    return path


SALT = [(name, "") for name in SYMBOLS]


@pytest.mark.parametrize(("length", "unit"), [(1.0, "nanometer"), (0.1, "angstrom"), (BOHR, "atomic_unit")])
def test_cells_and_units_of_ipi(tmp_path, reader, length, unit):
    # Edges in bohr whatever the positions are in; angles in degrees.
    edges = " ".join(f"{edge / BOHR:.7f}" for edge in (1.2, 1.3, 1.4))
    comment = f"# CELL(abcABC): {edges} 90.0 80.0 90.0 Step: 0 Bead: 0 positions{{{unit}}} cell{{atomic_unit}}"
    frames = Frames.load(rows_of(tmp_path / "a.xyz", comment, SALT, scale=1 / length), 300)
    np.testing.assert_allclose(frames.positions, X, atol=1e-6)
    lengths = np.linalg.norm(frames.box, axis=1)
    np.testing.assert_allclose(lengths, [1.2, 1.3, 1.4], rtol=1e-6)
    assert frames.box[0] @ frames.box[2] / lengths[0] / lengths[2] == pytest.approx(np.cos(np.radians(80.0)), rel=1e-5)


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        (
            "# CELL(abcABC): 22 22 22 90 90 90 Step: 0 Bead: 0 velocities{angstrom} cell{angstrom}",
            "units of velocities",
        ),
        ("# CELL(abcABC): 22 22 22 90 90 90 Step: 0 Bead: 0", "units of nothing"),
        ("# CELL(H): 9 0 0 0 9 0 0 0 9 positions{angstrom} cell{angstrom}", r"CELL\(H\): write CELL\(abcABC\)"),
        ('cell="12 12 12 60 60 60"', "6 numbers, perhaps lengths and angles: give three vectors"),
        ('Lattice="12 0 0"', "one vector or has an edge of 0"),
        ('temperature="25 C"', "temperature in its comment line is '25 C': give a number in K"),
        ("replica=first", "replica in its comment line is 'first': give a whole number"),
    ],
)
def test_comment_lines_that_are_refused_say_which(tmp_path, reader, comment, message):
    path = rows_of(tmp_path / "a.xyz", comment, SALT)
    with pytest.raises(ValueError, match=f"frame 0 of .*{message}.*: correct its comment line, "):
        Frames.load(path, 300)


@pytest.mark.parametrize(
    "spelling", ['Lattice="12 12 12"', "Lattice=[[12, 0, 0], [0, 12, 0], [0, 0, 12]]", 'cell="12 12 12"']
)
def test_edges_and_nested_brackets(tmp_path, reader, spelling):
    frames = Frames.load(rows_of(tmp_path / "a.xyz", spelling, SALT), 300)
    np.testing.assert_allclose(frames.box, EDGE * np.eye(3))


@pytest.mark.parametrize("comment", ["", 'Lattice="12 0 0 0 12 0 0 0 12"', "Properties=species:S:1:pos:R:3"])
def test_columns_that_nobody_declared_are_named(tmp_path, reader, caplog, comment):
    Frames.load(rows_of(tmp_path / "a.xyz", comment, [(name, "0.5 -0.5") for name in SYMBOLS]), 300)
    assert "left out: 2 further columns of the rows" in caplog.text


def test_bare_numbers_of_a_comment_line_are_named(tmp_path, reader, caplog):
    Frames.load(rows_of(tmp_path / "a.xyz", "12.0 0 0 0 12.0 0 0 0 12.0", SALT), 300)
    assert "bare numbers in the comment line (a box is given as box=" in caplog.text


def test_known_keys_are_named_beside_unknown_ones(tmp_path, reader, caplog):
    with caplog.at_level(logging.INFO, "openmm_diffusion"):
        Frames.load(write_xyz(tmp_path / "a.xyz", "spin=1 dft_stress=0"), 300)
    said = [(record.levelname, record.getMessage().rpartition(": ")[2]) for record in caplog.records]
    assert said == [("INFO", "dft_stress"), ("WARNING", "spin")]


@pytest.mark.parametrize("kinds", [["1"], ["1", "2", "3"]])
def test_types_of_simulation_programs_are_no_elements(tmp_path, reader, kinds):
    rows = [(kinds[i % len(kinds)], "") for i in range(8)]
    with pytest.raises(ValueError, match="types of LAMMPS such as '1', not elements: give symbols, or .* column Z"):
        Frames.load(rows_of(tmp_path / "a.xyz", "made by OVITO", rows), 300)
    path = rows_of(tmp_path / "a.xyz", "Properties=Z:I:1:pos:R:3", [("2", "")] * 8)
    assert Frames.load(path, 300).symbols == ["He"] * 8
    assert Frames.load(rows_of(tmp_path / "a.xyz", "", [("11", "")] * 8), 300).symbols == ["Na"] * 8


def test_deuterium_has_its_mass(tmp_path, reader):
    frames = Frames.load(rows_of(tmp_path / "a.xyz", "", [("N", ""), ("D", ""), ("H", "")], _ammonia()), 300)
    assert frames.symbols == ["N", "H", "H"]
    np.testing.assert_allclose(frames.masses, [14.0067, 2.0141, 1.0079], atol=1e-3)  # IUPAC 2007
    frames = Frames.from_trajectory(tmp_path / "a.xyz", temperature=300)
    np.testing.assert_allclose(frames.masses, [14.0067, 2.0141, 1.0079], atol=1e-3)


def _ammonia():
    return np.array([[[0.0, 0, 0], [0.101, 0, 0], [-0.03, 0.096, 0]]] * 2)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["CA"], "CA is a C-alpha or calcium: write elements as Ca"),
        (["N", "CA", "C", "O"], "CA is a C-alpha or calcium"),
        (["W", "CL"], "W beside names in capitals is a bead of water or tungsten: .*types='name'"),
    ],
)
def test_names_of_beads_that_are_symbols_are_no_elements(tmp_path, reader, names, message):
    path = rows_of(tmp_path / "a.xyz", "", [(names[i % len(names)], "") for i in range(8)])
    with pytest.raises(ValueError, match=message):
        Frames.load(path, 300)
    frames = Frames.from_trajectory(path, temperature=300, types="name")
    assert not frames.species.any() and set(frames.types) == set(names)


@pytest.mark.parametrize(
    ("names", "said"), [(["CA", "CL"], "CA is taken for calcium"), (["W"], "W is taken for tungsten")]
)
def test_names_that_may_be_beads_are_named(tmp_path, reader, caplog, names, said):
    frames = Frames.load(rows_of(tmp_path / "a.xyz", "", [(names[i % len(names)], "") for i in range(8)]), 300)
    assert set(frames.symbols) == {name.capitalize() for name in names}
    assert said in caplog.text


def test_forces_that_are_zero_throughout_are_named(tmp_path, reader, caplog):
    Frames.load(write_xyz(tmp_path / "a.xyz", columns=[("forces", "R", 3, LABELS * np.arange(6)[:, None, None])]), 300)
    assert "the forces are exactly 0 in 1 of 6 frames" in caplog.text


@pytest.mark.parametrize("key", ["pos", "species"])
def test_positions_are_no_forces(tmp_path, reader, key):
    path = write_xyz(tmp_path / "a.xyz", columns=[("velo", "R", 3, LABELS), ("mass", "R", 1, LABELS[..., 0])])
    with pytest.raises(ValueError, match=f"forces_key is '{key}', but .*a.xyz has .*: name one of them"):
        Frames.load(path, 300, forces_key=key)
    with pytest.raises(ValueError, match="its column mass has a width of 1: forces_key must name three numbers"):
        Frames.load(path, 300, forces_key="mass")


def test_positions_of_archives_are_no_forces(tmp_path):
    for arrays in ({"positions": X, "atomic_numbers": NUMBERS}, {"R": 10 * X, "z": NUMBERS}):
        np.savez(tmp_path / "a.npz", **arrays, F=F)
        for key in arrays:
            with pytest.raises(ValueError, match=f"forces_key is '{key}', but .*a.npz has F: name one"):
                Frames.load(tmp_path / "a.npz", 300, forces_key=key)


CELLS = {
    "upper": [[1.2, 0.3, -0.2], [0.0, 1.1, 0.25], [0.0, 0.0, 1.3]],
    "permuted": [[0.0, 1.2, 0.0], [0.0, 0.0, 1.3], [1.4, 0.0, 0.0]],
    "primitive of bcc": [[-0.7, 0.7, 0.7], [0.7, -0.7, 0.7], [0.7, 0.7, -0.7]],
    "two negative edges": [[1.3, 0.0, 0.0], [0.0, -1.2, 0.0], [0.0, 0.0, -1.4]],
}


def invariants(x, cell, forces):
    """Shortest images of all pairs, and the forces along them: the same whatever the orientation."""
    shifts = np.array(np.meshgrid(*[(-2, -1, 0, 1, 2)] * 3)).reshape(3, -1).T @ cell
    vectors = (x[:, None, :, None] - x[:, :, None, None]) + shifts
    lengths = np.linalg.norm(vectors, axis=-1)
    nearest = np.take_along_axis(vectors, lengths.argmin(-1)[..., None, None], axis=-2)[..., 0, :]
    return lengths.min(-1), np.einsum("fijc,fic->fij", nearest, forces)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
@pytest.mark.parametrize("kind", ["xyz", "NequIP", "native"])
def test_turned_cells_turn_positions_and_forces(tmp_path, cell, kind):
    cell = np.array(cell)
    rng = np.random.default_rng(2)
    places = np.array([(a, b, c) for a in (0.1, 0.6) for b in (0.1, 0.6) for c in (0.1, 0.6)])
    x = (places + rng.uniform(-0.04, 0.04, (6, 8, 3))) @ cell
    if kind == "xyz":
        lattice = " ".join(f"{value}" for value in 10 * cell.ravel())
        path = write_xyz(tmp_path / "a.xyz", f'Lattice="{lattice}"', [("forces", "R", 3, LABELS)], x, lattice=False)
    else:
        path = tmp_path / "a.npz"
        if kind == "native":
            np.savez(path, positions=x, atomic_numbers=NUMBERS, box=cell, forces=F, bias_forces=2 * F)
        else:
            np.savez(path, R=10 * x, z=NUMBERS, cell=10 * cell, F=LABELS)
    frames = Frames.load(path, 300)
    assert np.linalg.det(frames.box) == pytest.approx(np.linalg.det(cell), rel=1e-6)
    for mine, theirs in zip(invariants(frames.positions, frames.box, frames.forces), invariants(x, cell, F)):
        np.testing.assert_allclose(mine, theirs, atol=2e-4)
    if kind == "native":
        np.testing.assert_allclose(frames.bias_forces, 2 * frames.forces, rtol=1e-5)
    if kind == "xyz":
        other = Frames.from_trajectory(path, temperature=300)
        np.testing.assert_allclose(other.positions, frames.positions, rtol=1e-6)
        np.testing.assert_allclose(other.forces, frames.forces, rtol=1e-6)


def test_a_box_for_a_file_that_only_says_it_has_one(tmp_path, reader):
    path = rows_of(tmp_path / "a.xyz", 'pbc="1 1 1"', SALT)
    for frames in (
        Frames.load(path, 300, box=[EDGE] * 3),
        Frames.from_trajectory(path, temperature=300, box=[EDGE] * 3),
    ):
        np.testing.assert_allclose(frames.box, EDGE * np.eye(3))
    with pytest.raises(ValueError, match="says it is periodic .* or edges in nm as box="):
        Frames.from_trajectory(path, temperature=300)


def test_archives_as_people_shape_them(tmp_path):
    np.savez(tmp_path / "a.npz", R=10 * X, z=NUMBERS[:, None])
    assert Frames.load(tmp_path / "a.npz", 300).symbols == SYMBOLS
    # Of the revised MD17, forces of the older calculation are passed over.
    units = {"r_unit": "Ang", "e_unit": "kcal/mol"}
    np.savez(tmp_path / "a.npz", coords=10 * X, nuclear_charges=NUMBERS, forces=F, old_forces=2 * F, **units)
    np.testing.assert_allclose(Frames.load(tmp_path / "a.npz", 300).forces, F * 41.84, rtol=1e-5)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("2 2 2", "box is '2 2 2': give three edges in nm"),
        ([2.0, -2.0, 2.0], "box has a negative edge, -2 nm: give three positive edges"),
        ([1.0, 1.0, 1.0], "but the box of .*a.npz varies from frame to frame: leave the argument out"),
    ],
)
def test_boxes_that_are_refused_say_why(tmp_path, box, message):
    boxes = np.linspace(1.2, 1.3, 6)[:, None, None] * np.eye(3)
    np.savez(tmp_path / "a.npz", positions=X, atomic_numbers=NUMBERS, box=boxes)
    with pytest.raises(ValueError, match=message):
        Frames.load(tmp_path / "a.npz", 300, box=box)


def test_other_refusals_say_what_to_do(tmp_path):
    np.savez(tmp_path / "a.npz", positions=X, atomic_numbers=NUMBERS, format="two")
    with pytest.raises(ValueError, match="a.npz has format 'two': it is a whole number, 1 to 2"):
        Frames.load(tmp_path / "a.npz", 300)
    np.savez(tmp_path / "a.npz", positions=X, atomic_numbers=NUMBERS, forces=F[:3])
    with pytest.raises(ValueError, match=r"a.npz holds forces of shape \(3, 8, 3\), positions of shape \(6, 8, 3\)"):
        Frames.load(tmp_path / "a.npz", 300)
    (tmp_path / "md.traj").write_bytes(b"- of Ulm")
    for read in (Frames.load, Frames.from_trajectory):
        with pytest.raises(
            ValueError, match="md.traj is a trajectory of ASE: write it as XYZ, ase convert md.traj md.xyz"
        ):
            read(tmp_path / "md.traj", temperature=300)


@pytest.mark.parametrize("name", ["f_dft", "F_qm", "ref_F", "forcesRef"])
def test_more_names_of_forces(name):
    assert forces_name([name, "f_max", "velocities"], None, "here") == name
