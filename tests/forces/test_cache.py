"""What is kept between runs is a program: whole, nobody else's, and not more than there is room for."""

import os
import time

import pytest

from openmm_diffusion.forces.compiled import cache


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.CACHE, str(tmp_path / "kept"))
    return tmp_path / "kept"


def put(name, content=b"a program"):
    """A compiled force in the cache."""
    with cache.workplace() as place:
        package = os.path.join(place, "force.pt2")
        with open(package, "wb") as file:
            file.write(content)
        path = cache.cache_directory() / f"{name}.pt2"
        cache.keep(type(path)(package), path)
    return path


def test_what_was_put_there_is_there_and_its_owners_alone(directory):
    assert not cache.kept(directory / "one.pt2")
    path = put("one")
    assert cache.kept(path)
    assert {item.name for item in directory.iterdir()} == {"one.pt2", "one.sha256"}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {item.stat().st_mode & 0o777 for item in directory.iterdir()} == {0o600}


@pytest.mark.parametrize("bit", range(0, 72, 9))
def test_a_bit_that_was_turned_makes_it_no_force(directory, bit):
    path = put("one")
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    assert not cache.kept(path)
    assert cache.kept(put("one")), "compiled again, it is kept again"


def test_a_force_without_its_digest_does_not_count(directory):
    path = put("one")
    path.with_suffix(".sha256").unlink()
    assert not cache.kept(path)


@pytest.mark.parametrize("which", ["directory", "force", "digest"])
def test_what_others_may_write_is_refused(directory, which):
    path = put("one")
    item = {"directory": directory, "force": path, "digest": path.with_suffix(".sha256")}[which]
    item.chmod(item.stat().st_mode | 0o020)
    with pytest.raises(PermissionError, match=rf"{item.name} may be written to by others, .* chmod go-w it, or name"):
        cache.kept(path)


def test_what_another_user_owns_is_refused(directory, monkeypatch):
    path = put("one")
    monkeypatch.setattr(os, "getuid", lambda: directory.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="kept belongs to another user: compiled forces are programs"):
        cache.kept(path)
    with pytest.raises(PermissionError, match="belongs to another user"):
        cache.workplace()


def test_what_was_used_longest_ago_makes_room(directory, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 35)
    paths = [put(name, b"x" * 10) for name in ("one", "two", "three")]
    for age, path in zip((300, 200, 100), paths):
        os.utime(path, (time.time() - age,) * 2)
    assert cache.kept(paths[0])  # used now: "two" is the oldest
    put("four", b"x" * 10)
    assert {path.name for path in directory.glob("*")} == {
        f"{name}.{kind}" for name in ("one", "three", "four") for kind in ("pt2", "sha256")
    }


def test_what_a_killed_compilation_left_is_taken_away(directory):
    for name, age in (("compiling-old", 2 * cache.ABANDONED), ("compiling-new", 10)):
        (directory / name).mkdir(parents=True)
        (directory / name / "part.o").write_text("half")
        os.utime(directory / name, (time.time() - age,) * 2)
    directory.chmod(0o700)
    put("one")
    assert not (directory / "compiling-old").exists() and (directory / "compiling-new").exists()
