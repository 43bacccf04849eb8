"""The files of a run: one trajectory per replica, cut back to the checkpoint when the run goes on."""

import mdtraj
from openmm import app


def trajectory_paths(output, extension, replicas):
    """trajectory.dcd of one replica, trajectory-00.dcd, trajectory-01.dcd, ... of several."""
    if replicas == 1:
        return [output / f"trajectory.{extension}"]
    digits = max(2, len(str(replicas - 1)))
    return [output / f"trajectory-{number:0{digits}}.{extension}" for number in range(replicas)]


def trajectory_reporters(paths, every, n_particles, append):
    """A reporter of OpenMM for each replica; its particles follow those of the replica before."""
    writer = app.DCDReporter if paths[0].suffix == ".dcd" else app.XTCReporter
    subsets = [range(i * n_particles, (i + 1) * n_particles) for i in range(len(paths))] if len(paths) > 1 else [None]
    return [
        writer(str(path), every, append=append, enforcePeriodicBox=True, atomSubset=subset)
        for path, subset in zip(paths, subsets)
    ]


def cut_back(paths, n_frames):
    """Drop the frames and rows that were written after the checkpoint: they will be written again."""
    output = paths[0].parent
    for path in paths:
        if path.exists() and n_frames:
            frames = mdtraj.load(str(path), top=str(output / "topology.pdb"))
            if len(frames) > n_frames:
                partial = path.with_name(f"partial{path.suffix}")
                frames[:n_frames].save(str(partial))
                partial.replace(path)
    for table in (output / "state.csv", output / "spread.csv"):
        if table.exists():
            table.write_text("".join(table.read_text().splitlines(keepends=True)[: n_frames + 1]))
