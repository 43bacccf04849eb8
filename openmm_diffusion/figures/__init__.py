"""Every picture, drawn from tables only, without pyplot: nothing here touches the backend or figures of a caller."""

from .evaluation import evaluation_figure, force_errors_figure, two_errors_figure
from .health import health_figure
from .molecules import molecule_figures
from .sampling import samples_figure
from .speed import benchmark_figure
from .structure import compared_rdf_figure, rdf_figure, simple_rdf_figure
from .terms import distances_figure, terms_figure
from .training import bonded_figure, distillation_figure, loss_figure, potential_figure

__all__ = [
    "benchmark_figure", "bonded_figure", "compared_rdf_figure", "distances_figure", "distillation_figure",
    "evaluation_figure", "force_errors_figure", "health_figure", "loss_figure", "molecule_figures",
    "potential_figure", "rdf_figure", "samples_figure", "simple_rdf_figure", "terms_figure", "two_errors_figure",
]  # fmt: skip
