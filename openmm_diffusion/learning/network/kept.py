"""What the training of a network keeps, so that nothing of it is lost: checkpoints, its log, an interruption's end."""

import io
import pickle
from pathlib import Path

import pandas
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from ...rundirectory import damaged, write_table, write_whole

AGAIN = "delete {directory} and resume: the network is trained anew, what was fitted before it stays"


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there.

    Lightning's own are written in the system's temporary directory and moved: where that is on another disk, they are
    copied, and who is killed or has no space left meanwhile has an empty one.
    """

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        file, path = io.BytesIO(), Path(path)
        torch.save(checkpoint, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, file.getbuffer())


class Checkpoint(ModelCheckpoint):
    """Lightning's, which knows its files again where the directory of the run was moved or copied to."""

    def __init__(self, directory, name, monitor=None):
        # Saved within the epoch, where a resumed run can take it up.
        super().__init__(directory, name, monitor, save_on_train_epoch_end=False, enable_version_counter=False)

    def load_state_dict(self, state_dict):
        def here(path):
            return path and str(Path(self.dirpath) / Path(path).name)

        moved = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"dirpath": self.dirpath, "best_k_models": best})


class Interruptible(Callback):
    """Ends a training between two batches, with a last checkpoint.

    Where a check is due or begun, the checkpoint of the one before it stays: Lightning takes up a training between two
    batches of an epoch, or after its check, and would leave out a check that was not finished.
    """

    def __init__(self, asked, path):
        self.asked, self.path = asked, path

    def on_train_batch_end(self, trainer, *_):
        if self.asked():
            if not trainer.is_last_batch:
                trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt

    def on_validation_batch_end(self, *_):
        if self.asked():
            raise KeyboardInterrupt


class TableLog(Logger):
    """The log as one table, metrics.csv, going on after the rows of the first `steps` steps.

    It is written anew with every row: it is short, and so it is whole.
    """

    name, version = "", "log"

    def __init__(self, directory, steps):
        super().__init__()
        self.path = directory / "log" / "metrics.csv"
        self.rows = pandas.DataFrame({"step": []})
        if steps and self.path.exists():
            try:
                self.rows = pandas.read_csv(self.path)
                self.rows = self.rows[self.rows["step"] < steps]
            except (ValueError, KeyError, TypeError) as error:
                raise damaged(self.path, "delete it and resume: the log begins anew") from error

    @rank_zero_only
    def log_metrics(self, metrics, step=None):
        row = pandas.DataFrame([{**{key: float(value) for key, value in metrics.items()}, "step": step}])
        rows = pandas.concat([self.rows, row], ignore_index=True) if len(self.rows) else row
        self.rows = rows.astype({key: int for key in ("epoch", "step") if key in rows})[sorted(rows.columns)]
        self.path.parent.mkdir(exist_ok=True)
        write_table(self.path, self.rows)

    def log_hyperparams(self, *_):
        """There are none that config.yaml does not hold."""


def read_checkpoint(path, content=None):
    """The contents of a checkpoint, of a file or of its bytes: tensors, numbers and names, nothing that executes.

    Raises
    ------
    ValueError
        For a file that is damaged or not there.
    """
    try:
        content = Path(path).read_bytes() if content is None else content
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, ValueError, KeyError, FileNotFoundError, pickle.UnpicklingError) as error:
        raise damaged(path, AGAIN.format(directory=Path(path).parent)) from error
