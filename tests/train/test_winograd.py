"""Convolutions by fewer multiplications give what plain ones give, forwards and backwards."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs the train extra")

from fer_train import winograd  # noqa: E402
from fer_train.torch_speed import use_native_kernels  # noqa: E402

needs_torch = pytest.mark.skipif(keras.backend.backend() != "torch", reason="runs under KERAS_BACKEND=torch")


@pytest.mark.parametrize(("outputs", "side"), [(2, 3), (3, 3), (4, 3), (6, 3), (2, 5), (4, 5), (2, 7)])
def test_a_tile_is_filtered(outputs: int, side: int) -> None:
    n = outputs + side - 1
    rng = np.random.default_rng(4)
    tile, kernel = rng.normal(size=(n, n)), rng.normal(size=(side, side))
    to_inputs, to_kernel, to_outputs = winograd.transforms(outputs, side)
    found = to_outputs @ ((to_inputs @ tile.ravel()) * (to_kernel @ kernel.ravel()))
    windows = np.lib.stride_tricks.sliding_window_view(tile, (side, side))
    expected = np.einsum("abij,ij->ab", windows, kernel).ravel()
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_where_it_is_worth_it() -> None:
    # Wide layers of deep_cnn and VGG16, tiles that fill the image or nearly.
    assert winograd.best_outputs(24, 24, 5, 64, 128) == 4
    assert winograd.best_outputs(12, 12, 3, 256, 256) in (4, 6)
    assert winograd.best_outputs(6, 6, 3, 512, 512) == 6
    # Moving the tiles costs more than it saves where there are few channels; a 1x1 kernel has nothing to save.
    assert winograd.best_outputs(48, 48, 3, 1, 64) is None
    assert winograd.best_outputs(48, 48, 3, 32, 32) is None
    assert winograd.best_outputs(12, 12, 1, 256, 256) is None
    # Every tile of a 9x9 kernel is too wide for float32.
    assert winograd.best_outputs(24, 24, 9, 256, 256) is None


@needs_torch
@pytest.mark.parametrize(("rows", "columns"), [(12, 12), (7, 10), (1, 5)])
@pytest.mark.parametrize(("outputs", "side"), [(2, 3), (4, 3), (6, 3), (4, 5)])
def test_images_and_gradients(rows: int, columns: int, outputs: int, side: int) -> None:
    import torch

    generator = torch.Generator().manual_seed(5)
    images = torch.randn((3, rows, columns, 8), generator=generator)
    kernel = torch.randn((side, side, 8, 6), generator=generator)
    weights = torch.randn((3, rows, columns, 6), generator=generator)

    def plain(images: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        found = torch.nn.functional.conv2d(images.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), padding=side // 2)
        return found.permute(0, 2, 3, 1)

    found = []
    for convolve in (plain, lambda images, kernel: winograd.convolve(images, kernel, outputs)):
        leaves = [images.clone().requires_grad_(), kernel.clone().requires_grad_()]
        answer = convolve(*leaves)
        (answer * weights).sum().backward()
        found.append([answer.detach(), *(leaf.grad for leaf in leaves)])
    for expected, ours in zip(*found, strict=True):
        assert ours is not None
        assert expected is not None
        torch.testing.assert_close(ours, expected, rtol=0.0, atol=1e-4 * float(expected.abs().max()))


@needs_torch
@pytest.mark.parametrize("use_bias", [False, True])
def test_training_uses_it_and_answering_does_not(use_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    tiles = []
    convolve = winograd.convolve

    def counted(images: torch.Tensor, kernel: torch.Tensor, outputs: int) -> torch.Tensor:
        tiles.append(outputs)
        return convolve(images, kernel, outputs)

    monkeypatch.setattr(winograd, "convolve", counted)
    inputs = keras.Input((24, 24, 64))
    layer = keras.layers.Conv2D(128, 5, padding="same", use_bias=use_bias, bias_initializer="ones")
    model = keras.Model(inputs, layer(inputs))
    images = torch.randn((2, 24, 24, 64), generator=torch.Generator().manual_seed(6))
    composed = model(images).detach()
    use_native_kernels(model)
    trained = model(images).detach()
    assert tiles == [4]
    with torch.no_grad():
        answered = model(images)
    assert tiles == [4]
    torch.testing.assert_close(trained, composed, rtol=0.0, atol=1e-4 * float(composed.abs().max()))
    torch.testing.assert_close(answered, composed, rtol=1e-5, atol=1e-5)
