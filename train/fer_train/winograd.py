"""Convolutions by fewer multiplications: Winograd's minimal filtering, for training on PyTorch's CPU kernels.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks" (arXiv:1509.09308). A tile of m x m outputs of
an r x r kernel costs n x n products of matrices, n = m + r - 1, instead of m x m x r x r: a quarter for F(4x4, 3x3),
four twenty-fifths for F(4x4, 5x5). PyTorch has no such kernel for x86. Rounding grows with n; up to n = 8, in float32,
outputs and gradients differ from a plain convolution's by about 1e-5 of the largest.

``benchmarks/training_step.py`` measures a step with it and without.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

OUTPUTS: Final = (2, 3, 4, 6)
"""Sides of a tile of outputs that are tried."""

LARGEST_TILE: Final = 8
"""Largest side of a tile of inputs: beyond it, rounding in float32 shows."""

MEMORY: Final = 30
"""What moving one value of a transformed tile costs, in multiplications; fitted to nine sizes on a Zen 3 core."""

WORTH: Final = 1.25
"""By how much fewer multiplications a plain convolution is given up."""

POINTS: Final = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
"""Where the polynomials are evaluated, infinity besides: small, so that rounding stays small (Lavin and Gray)."""


class Transforms(NamedTuple):
    """Matrices that act on flattened tiles, one for each step of the algorithm."""

    inputs: NDArray[np.float32]
    """(n * n, n * n)."""
    kernel: NDArray[np.float32]
    """(n * n, r * r)."""
    outputs: NDArray[np.float32]
    """(m * m, n * n)."""


@lru_cache
def transforms(outputs: int, side: int) -> Transforms:
    """Return what F(``outputs`` x ``outputs``, ``side`` x ``side``) needs, by Toom and Cook's algorithm transposed.

    The polynomial product of a kernel and of ``outputs`` coefficients is found from its values at n points; what gives
    those values (two Vandermonde matrices) and what goes back, transposed, is the filter.
    """
    n = outputs + side - 1
    to_outputs = _vandermonde(n, outputs).T
    to_kernel = _vandermonde(n, side)
    to_inputs = np.linalg.inv(_vandermonde(n, n)).T
    # The two may share a factor in any way: rows of size 1 keep inputs and products in one range.
    largest = np.abs(to_inputs).max(axis=1, keepdims=True)
    one_axis = (to_inputs / largest, to_kernel * largest, to_outputs)
    return Transforms(*(np.kron(matrix, matrix).astype(np.float32) for matrix in one_axis))


@lru_cache
def best_outputs(rows: int, columns: int, side: int, channels: int, filters: int) -> int | None:
    """Return the side of the tiles of outputs that costs least, or None where a plain convolution is as good.

    Args:
        rows: height of the input, and of the output.
        columns: the same across.
        side: of the kernel, odd.
        channels: of the input.
        filters: channels of the output.
    """
    costs: dict[int | None, float] = {None: rows * columns * side**2 * channels * filters / WORTH}
    for outputs in OUTPUTS:
        n = outputs + side - 1
        if n <= LARGEST_TILE:
            a_value = channels * filters + n**2 * channels + outputs**2 * filters + MEMORY * (channels + filters)
            costs[outputs] = -(-rows // outputs) * -(-columns // outputs) * n**2 * a_value
    return min(costs, key=costs.__getitem__)


def convolve(images: Any, kernel: Any, outputs: int) -> Any:
    """Convolve with stride 1 and "same" padding; differentiable in both arguments.

    Args:
        images: (N, H, W, channels) float32 tensor on the CPU.
        kernel: (r, r, channels, filters) float32 tensor, r odd.
        outputs: side of the tiles, see :func:`best_outputs`.

    Returns:
        (N, H, W, filters) float32 tensor.
    """
    import torch

    side, _, channels, filters = kernel.shape
    n = outputs + side - 1
    to_inputs, to_kernel, to_outputs = (torch.from_numpy(matrix) for matrix in transforms(outputs, side))
    count, rows, columns, _ = images.shape
    down, across = -(-rows // outputs), -(-columns // outputs)
    before = side // 2
    bottom, right = (tiles * outputs + before - pixels for tiles, pixels in ((down, rows), (across, columns)))
    padded = torch.nn.functional.pad(images, (0, 0, before, right, before, bottom)).contiguous()
    tiles = _tiles().apply(padded, n, outputs)
    # One product of matrices for each of the n * n places of a tile.
    inputs = (to_inputs @ tiles.view(n * n, -1)).view(n * n, -1, channels)
    kernels = (to_kernel @ kernel.reshape(side * side, -1)).view(n * n, channels, filters)
    products = torch.bmm(inputs, kernels).view(n * n, -1)
    found = (to_outputs @ products).view(outputs, outputs, count, down, across, filters)
    whole = found.permute(2, 3, 0, 4, 1, 5).reshape(count, down * outputs, across * outputs, filters)
    return whole[:, :rows, :columns]


def _vandermonde(n: int, degree: int) -> NDArray[np.float64]:
    """Return (n, degree): the powers of n - 1 points, and of infinity, where the last coefficient alone counts."""
    finite = np.vander(POINTS[: n - 1], degree, increasing=True)
    return np.vstack([finite, np.eye(1, degree, degree - 1)])


@lru_cache
def _tiles() -> Any:
    """Make the class when it is first needed: PyTorch need not be installed."""
    import torch

    class Tiles(torch.autograd.Function):
        """Overlapping tiles of images (N, H, W, C), as (n, n, N, down, across, C)."""

        @staticmethod
        def forward(context: Any, images: Any, n: int, step: int) -> Any:
            context.shape, context.n, context.step = images.shape, n, step
            count, rows, columns, channels = images.shape
            tiles = [(size - n) // step + 1 for size in (rows, columns)]
            per_image, per_row, per_column, _ = images.stride()
            strides = (per_row, per_column, per_image, step * per_row, step * per_column, 1)
            return images.as_strided((n, n, count, *tiles, channels), strides).contiguous()

        @staticmethod
        def backward(context: Any, *gradients: Any) -> Any:
            (gradient,) = gradients
            images = gradient.new_zeros(context.shape)
            down, across = ((tiles - 1) * context.step + 1 for tiles in gradient.shape[3:5])
            for row in range(context.n):
                for column in range(context.n):
                    places = images[:, row : row + down : context.step, column : column + across : context.step]
                    places += gradient[row, column]
            return images, None, None

    return Tiles
