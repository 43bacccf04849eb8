"""Directories that results are written to."""

from pathlib import Path


def made(directory):
    """A directory as a Path, made where it does not exist."""
    directory = Path(directory)
    file = next((path for path in (directory, *directory.parents) if path.exists() and not path.is_dir()), None)
    if file is not None:
        raise FileExistsError(f"output is {directory}, but {file} is a file: name a directory")
    directory.mkdir(parents=True, exist_ok=True)
    return directory
