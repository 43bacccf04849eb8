"""Verlet lists: neighbour pairs within several cutoffs, found anew only when they may have changed."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, argsort, bucketize, int64, sqrt, tensor

from .neighbours import neighbour_pairs


class VerletList:
    """Pairs within cutoff + skin, which hold all pairs within the cutoff until a particle has moved by skin/2.

    Pairs within the smallest cutoff come first, then those of the next: the pairs that a term with a
    shorter range needs are the first of the list.

    Parameters
    ----------
    cutoffs : iterable of float, nm
    skin : float, nm
        0: found anew at every call.

    Attributes
    ----------
    first, second : Tensor, shape (n_pairs,), dtype int64
        Numbered through the frames, as `neighbour_pairs` does.
    counts : dict of float to int
        How many of the first pairs hold all within each cutoff (nm).

    References
    ----------
    Verlet, Phys. Rev. 159, 98 (1967).
    """

    def __init__(self, cutoffs: Iterable[float], skin: float) -> None:
        self.cutoffs, self.skin = sorted(set(cutoffs)), skin
        self.reference: Any = None  # a Tensor, from the first update on
        self.box: Any = None

    def update(self, positions: Tensor, box: Tensor | None) -> bool:
        """Whether the pairs were found anew for positions (n_frames, n_particles, 3), nm, in a box (3, 3), nm."""
        if self.reference is not None and self.skin > 0 and not self._outgrown(positions, box):
            return False
        self.reference, self.box = positions.clone(), None if box is None else box.clone()
        if not self.cutoffs:
            self.first = self.second = tensor([], dtype=int64, device=positions.device)
            self.counts: dict[float, int] = {}
            return True
        first, second, vectors = neighbour_pairs(positions, box, self.cutoffs[-1] + self.skin)
        reach = tensor(self.cutoffs, dtype=vectors.dtype, device=vectors.device) + self.skin
        shell = bucketize(sqrt((vectors * vectors).sum(-1)), reach)
        order = argsort(shell, stable=True)
        self.first, self.second = first[order], second[order]
        within = (shell.unsqueeze(1) <= tensor(range(len(reach)), device=shell.device)).sum(0).tolist()
        self.counts = dict(zip(self.cutoffs, within))
        return True

    def _outgrown(self, positions: Tensor, box: Tensor | None) -> bool:
        """Whether a pair may have come within a cutoff unseen: by motion, or because the box changed."""
        if box is not None and bool((box != self.box).any()):
            return True
        # Twice the largest displacement; a particle moved to another image counts as far away, and so does NaN.
        return not 4 * float((positions - self.reference).square_().sum(-1).max()) <= self.skin**2
