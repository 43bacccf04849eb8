"""The runs of a page: what a directory holds, and what it names, followed to where it lies."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import rundirectory
from ...evaluation.record import RECORD
from ...model.denoiser import Denoiser
from ...model.file import find_model
from ...settings import validated
from ...simulation.langevin import SimulationConfig
from ...units import shown
from .tables import read_mapping

TRAINING, SIMULATION, EVALUATION = "training", "simulation", "evaluation"
REFINEMENT, DISTILLATION = "refinement", "distillation"
#: What says which command wrote a directory: keys of its settings that it has and no other.
MARKS = {
    TRAINING: {"target", "noise", "training", "data"},
    SIMULATION: {"timestep", "friction", "force", "model"},
    REFINEMENT: {"iterations", "sampling", "model"},
}
#: The model of a training, and the same before its network.
FINISHED, FITTED = "model.safetensors", "pair.safetensors"
NEW = "name one that train, simulate, evaluate, refine or distil wrote"


@dataclass(frozen=True)
class Run:
    """A directory, as one command has left it.

    Attributes
    ----------
    kind : str
    path : Path
    asked : dict
        Its settings, as the run has kept them.
    """

    kind: str
    path: Path
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def makes(self):
        """The models that it has made or is to make, the last one first; none of runs that use one."""
        names = {TRAINING: (FINISHED, FITTED), REFINEMENT: (FINISHED,), DISTILLATION: (FINISHED,)}
        return [str(self.path / name) for name in names.get(self.kind, ())]

    @property
    def model_file(self):
        """Where its model lies; None where it has none, or does not tell."""
        if self.makes:
            return next((file for file in self.makes if Path(file).exists()), None)
        told = self.asked.get("model_file")
        return told if isinstance(told, str) else None

    @property
    def held(self):
        """Who is at work in it, or was when it was killed; None where nobody is."""
        try:
            return (self.path / rundirectory.LOCK).read_text(errors="replace").strip()[:100] or "another process"
        except OSError:
            return None


@dataclass(frozen=True)
class Model:
    """A model that runs name, with the names that they have for it."""

    file: str
    denoiser: Denoiser
    digest: str

    @property
    def shipped(self):
        return not Path(self.file).exists()

    @property
    def path(self):
        return Path(find_model(self.file))


@dataclass
class Runs:
    """All that a page is about.

    Attributes
    ----------
    runs : list of Run
        Those given first, then those that they name.
    models : list of Model
        One for each file.
    lost : list of str
        Sentences about what is named and not there.
    """

    runs: list[Run]
    models: list[Model]
    lost: list[str]

    def of(self, *kinds):
        return [run for run in self.runs if run.kind in kinds]

    def model_of(self, run):
        """The model of a run; None where it is not there."""
        file = run.model_file
        return next((model for model in self.models if model.file == file), None)

    def maker_of(self, model):
        """The run that made a model; None where it is not there."""
        return next((run for run in self.runs if model.file in run.makes), None)


def found_runs(paths):
    """The runs in directories, and those that they name.

    Parameters
    ----------
    paths : list of path

    Returns
    -------
    Runs

    Raises
    ------
    FileNotFoundError, NotADirectoryError, ValueError
        For what is no directory of ours, and settings or models that are damaged.
    """
    runs, lost = [], []
    for path in paths:
        _add(runs, _given(path))
    for run in runs:  # which grows by what it names
        _add(runs, _named(run, lost))
    models: list[Model] = []
    for run in runs:
        file = run.model_file
        if file is None or any(model.file == file for model in models):
            continue
        try:
            denoiser = Denoiser.load(file)
        except FileNotFoundError:
            lost.append(f"{run.path} names the model {file}, which is not there any more.")
            continue
        models.append(Model(file, denoiser, denoiser.digest()))
    return Runs(runs, models, list(dict.fromkeys(lost)))


def _add(runs, more):
    """Those that are not there yet."""
    known = {(run.kind, run.path) for run in runs}
    runs += [run for run in more if (run.kind, run.path) not in known]


def _given(path):
    """The runs of a directory that somebody names, who is told what it is if it is none."""
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"run is {shown(str(path))}, which is not there: {NEW}")
    if not folder.is_dir():
        raise NotADirectoryError(f"run is {shown(str(path))}, a file: name the directory that it lies in")
    found = runs_of(folder)
    if found:
        return found
    if not any(folder.iterdir()):
        raise ValueError(f"run is {shown(str(path))}, an empty directory: {NEW}")
    raise ValueError(f"run is {shown(str(path))}, a directory without a run of ours: {NEW}")


def runs_of(folder):
    """What commands have written into a directory: several, where one wrote beside another.

    A directory of simulations, run-0, run-1 and so on, stands for these.
    """
    folder = folder.resolve()
    asked, found = rundirectory.asked_for(folder), []
    kind = next((kind for kind, keys in MARKS.items() if keys <= set(asked)), None)
    if kind == SIMULATION:  # whose numbers are needed, and those that an older version did not write
        known = {key: value for key, value in asked.items() if key in SimulationConfig.model_fields}
        asked = asked | validated(SimulationConfig, known, str(folder / rundirectory.SETTINGS)).model_dump(mode="json")
    if kind is not None:
        found.append(Run(kind, folder, asked))
    if (folder / "distillation.csv").exists():
        found.append(Run(DISTILLATION, folder, {}))
    if (folder / "evaluation.csv").exists() or (folder / RECORD).exists():
        found.append(Run(EVALUATION, folder, read_mapping(folder / RECORD, "evaluate again") or {}))
    if not found:
        for part in sorted(folder.glob("run-*")):
            found += [run for run in runs_of(part) if run.kind == SIMULATION] if part.is_dir() else []
    return found


def _named(run, lost):
    """The runs that a run names: the training of its model, the MD that was evaluated."""
    found = []
    if run.kind in (SIMULATION, EVALUATION) and run.model_file is not None:
        folder = Path(run.model_file).parent
        if Path(run.model_file).is_absolute() and folder.is_dir():
            found += [one for one in runs_of(folder) if run.model_file in one.makes]
    if run.kind == EVALUATION:
        told = run.asked.get("trajectories")
        for path in map(Path, map(str, told if isinstance(told, list) else [])):
            folder = path if path.is_dir() else path.parent
            if not path.exists():
                lost.append(f"{run.path} was made of {path}, which is not there any more.")
            elif folder.is_dir():
                found += [one for one in runs_of(folder) if one.kind == SIMULATION]
    return found
