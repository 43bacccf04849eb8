"""Penalised solutions for many penalties of one energy, those of the others held: the others are eliminated once.

With f the coefficients of that energy and r the rest, (A + R) c = b is

    S(p) c_f = b_f - A_fr M^-1 b_r,   S(p) = A_ff + p R_ff - A_fr M^-1 A_rf,   M = A_rr + R_rr
    c_r = M^-1 (b_r - A_rf c_f)

so that M, most of the work, is factorised once for all p: exact, and several times faster.
"""

import torch


class Eliminated:
    """A x = b for a symmetric positive matrix whose block of some rows changes.

    Parameters
    ----------
    matrix : Tensor, shape (n, n)
        Its block of `rows` counts for nothing.
    b : Tensor, shape (n,)
    rows : Tensor, shape (n,), dtype bool
        Of the energy whose penalty changes.
    """

    def __init__(self, matrix, b, rows):
        self.rows = rows
        cross, rest = matrix[~rows][:, rows], matrix[~rows][:, ~rows]
        self.factor = torch.linalg.cholesky(rest)
        both = torch.linalg.solve_triangular(self.factor, torch.cat([cross, b[~rows].unsqueeze(1)], 1), upper=False)
        self.cross, self.right = both[:, :-1], both[:, -1]
        self.shift = self.cross.T @ self.cross
        self.own = b[rows] - self.cross.T @ self.right

    def solved(self, block):
        """The solution x (n,) with this block (n_own, n_own) of the matrix."""
        own = torch.cholesky_solve(self.own.unsqueeze(1), torch.linalg.cholesky(block - self.shift)).squeeze(1)
        rest = (self.right - self.cross @ own).unsqueeze(1)
        x = self.rows.new_zeros(len(self.rows), dtype=own.dtype)
        x[self.rows] = own
        x[~self.rows] = torch.linalg.solve_triangular(self.factor.T, rest, upper=True).squeeze(1)
        return x
