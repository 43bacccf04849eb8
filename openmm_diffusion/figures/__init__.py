"""Every picture, drawn from tables only, without pyplot: nothing here touches the backend or figures of a caller."""

from .evaluation import evaluation_figure
from .molecules import molecule_figures
from .sampling import samples_figure
from .speed import benchmark_figure
from .structure import compared_rdf_figure, rdf_figure, simple_rdf_figure
from .training import bonded_figure, distillation_figure, loss_figure, potential_figure

__all__ = [
    "benchmark_figure", "bonded_figure", "compared_rdf_figure", "distillation_figure", "evaluation_figure",
    "loss_figure", "molecule_figures", "potential_figure", "rdf_figure", "samples_figure", "simple_rdf_figure",
]  # fmt: skip
