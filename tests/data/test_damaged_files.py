"""Files that were cut or damaged anywhere are read, or refused with a sentence that names them."""

import mdtraj
import numpy as np
import pytest
from files import grid, save, topology_of, write_gro, write_pdb

from openmm_diffusion import Frames

ATOMS = [("LI", "LI")] * 3 + [("CL", "CL")] * 3
TOPOLOGY = topology_of(ATOMS, [mdtraj.element.lithium] * 3 + [mdtraj.element.chlorine] * 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    x = grid(6, 1.5, 3)
    write_gro(folder / "a.gro", ATOMS, x, [[1.5] * 3] * 3)
    write_pdb(folder / "a.pdb", [(*atom, atom[0]) for atom in ATOMS], x, [1.5] * 3)
    save(TOPOLOGY, x, 1.5, folder / "a.lammpstrj")
    with open(folder / "a.xyz", "w") as file:
        for frame in 10 * x:
            file.write('6\nLattice="15 0 0 0 15 0 0 0 15" Properties=species:S:1:pos:R:3:forces:R:3 pbc="T T T"\n')
            file.writelines(
                f"{name} {a:.4f} {b:.4f} {c:.4f} 0.1 0.2 0.3\n" for (name, _), (a, b, c) in zip(ATOMS, frame)
            )
    rows = "\n".join(f"{i + 1} {1 + i // 3} 0 0 0" for i in range(6))
    (folder / "a.data").write_text(
        f"by hand\n\n6 atoms\n2 atom types\n\nMasses\n\n1 6.941\n2 35.453\n\nAtoms # atomic\n\n{rows}\n"
    )
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"lammpstrj": x}


def damaged(data, rng):
    """Cut, or with some bytes, a line or a number replaced."""
    kind = rng.integers(4)
    if kind == 0:
        return data[: rng.integers(len(data))]
    if kind == 1:
        at = rng.integers(len(data), size=rng.integers(1, 6))
        changed = bytearray(data)
        for place in at:
            changed[place] = rng.integers(32, 127)
        return bytes(changed)
    lines = data.split(b"\n")
    at = rng.integers(len(lines))
    if kind == 2:
        del lines[at]
    else:
        words = lines[at].split(b" ")
        words[rng.integers(len(words))] = rng.choice([b"", b"nan", b"-1", b"x", b"1e400", b"99999999", b"T", b'"'])
        lines[at] = b" ".join(words)
    return b"\n".join(lines)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("name", ["a.gro", "a.pdb", "a.lammpstrj", "a.xyz", "a.data"])
def test_damage_ends_in_a_sentence(tmp_path, files, name, seed):
    path = tmp_path / name
    path.write_bytes(damaged(files[name], np.random.default_rng(seed)))
    try:
        if name == "a.xyz":
            frames = Frames.load(path, temperature=300)
        elif name == "a.data":
            run = save(TOPOLOGY, files["lammpstrj"], 1.5, tmp_path / "run.lammpstrj")
            frames = Frames.from_trajectory(run, top=path, temperature=300)
        else:
            top = TOPOLOGY if name == "a.lammpstrj" else None
            frames = Frames.from_trajectory(path, top=top, temperature=300)
    except ValueError as error:
        assert path.name in str(error) or "run.lammpstrj" in str(error), error
        return
    assert np.isfinite(frames.positions).all()
