"""Every network: its cost as documented, its round trip through a file, its stages, its pretrained weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import DataError, UsageError

keras = pytest.importorskip("keras", reason="needs the train extra")

from fer_train.models import NETWORKS, build, load_pretrained, with_softmax  # noqa: E402
from fer_train.models.cost import multiply_accumulates  # noqa: E402
from fer_train.models.normalized import copy_normalized  # noqa: E402
from fer_train.optimizers import freeze_before, plateau_scale  # noqa: E402
from fer_train.recipe import load_recipe  # noqa: E402
from fer_train.torch_speed import use_native_kernels  # noqa: E402

NO_IMAGES = np.zeros((0, 48, 48, 1), np.uint8)

COST = {
    "cnn5": (0.8, 109.0),
    "deep_cnn": (4.5, 292.0),
    "mini_xception": (0.058, 5.5),
    "mobilenet": (3.2, 103.0),
    "mobilenet_v2": (2.3, 55.0),
    "shallow_cnn": (4.7, 16.0),
    "vgg1": (2.4, 24.0),
    "vgg16": (15.2, 702.4),
    "vgg2": (1.2, 55.0),
    "vgg3": (0.9, 86.0),
    "vgg_lite": (1.2, 117.0),
}
"""Millions of parameters and of multiply-accumulates, as the docstrings say."""


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_network(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    keras.utils.set_random_seed(1)
    network = build(name, recipe.input.shape, 7, recipe.network)
    parameters, multiplications = COST[name]
    assert network.count_params() / 1e6 == pytest.approx(parameters, rel=0.06)
    assert multiply_accumulates(network) / 1e6 == pytest.approx(multiplications, rel=0.03)
    assert network.dtype_policy.compute_dtype == "float32"
    pixels = np.random.default_rng(1).integers(0, 256, (2, *recipe.input.shape)).astype(np.float32)
    logits = np.asarray(keras.ops.convert_to_numpy(network(pixels, training=False)))
    assert logits.shape == (2, 7)
    # The faster kernels of one backend change nothing but rounding.
    use_native_kernels(network)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(network(pixels, training=False)), logits, rtol=1e-3, atol=1e-3
    )
    for stage in recipe.stages:
        freeze_before(network, stage.train_from)
        assert network.trainable_variables
    model = with_softmax(network, temperature=2.0)
    powers = np.exp(logits / 2.0 - (logits / 2.0).max(axis=1, keepdims=True))
    expected = powers / powers.sum(axis=1, keepdims=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(again(pixels, training=False)), expected, rtol=1e-3, atol=1e-4
    )


def test_a_grey_stem_sees_what_three_equal_planes_would(tmp_path: Path) -> None:
    """Random weights stand in for ImageNet's: what counts is that both networks compute the same."""
    keras.utils.set_random_seed(5)
    original = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(96, 96, 3))
    original.save_weights(tmp_path / "w.weights.h5")
    network = build("mobilenet", (96, 96, 1), 7, {"stem_stride": 2})
    load_pretrained("mobilenet", network, str(tmp_path / "w.weights.h5"), NO_IMAGES)
    grey = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 1)).astype(np.float32)
    wanted = original(np.repeat(grey, 3, axis=3) / 127.5 - 1.0, training=False)
    backbone = keras.Model(network.inputs[0], network.get_layer("conv_pw_13_relu").output)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(backbone(grey, training=False)),
        keras.ops.convert_to_numpy(wanted),
        rtol=1e-3,
        atol=1e-4,
    )


def test_planes_with_their_own_means_are_made_up_for(tmp_path: Path) -> None:
    keras.utils.set_random_seed(5)
    original = keras.applications.VGG16(include_top=False, weights=None, input_shape=(96, 96, 3))
    original.save_weights(tmp_path / "w.weights.h5")
    network = build("vgg16", (48, 48, 1), 7, {})
    load_pretrained("vgg16", network, str(tmp_path / "w.weights.h5"), NO_IMAGES)
    grey = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 1)).astype(np.float32)
    planes = np.repeat(grey, 3, axis=3) - np.array([103.939, 116.779, 123.68], np.float32)
    first = original.get_layer("block1_conv1")
    wanted = np.asarray(keras.ops.convert_to_numpy(first(planes))) / 64  # the whole network is scaled so
    stem = keras.Model(network.inputs[0], network.get_layer("block1_relu1").output)
    found = np.asarray(keras.ops.convert_to_numpy(stem(grey, training=False)))
    # Beyond the border both see zero, which is another grey for each plane: only the inside is equal.
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], wanted[:, 1:-1, 1:-1], rtol=1e-3, atol=1e-2)


def test_normalizations_start_as_what_keeps_the_pretrained_features(tmp_path: Path) -> None:
    """Random weights and textures stand in for ImageNet's and faces."""
    keras.utils.set_random_seed(5)
    keras.applications.VGG16(include_top=False, weights=None, input_shape=(96, 96, 3)).save_weights(
        tmp_path / "w.weights.h5"
    )
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (24, 12, 12, 1)).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    plain = build("vgg16", (48, 48, 1), 7, {})
    load_pretrained("vgg16", plain, str(tmp_path / "w.weights.h5"), coarse)
    # Biases as a trained network has them, so that what becomes of them counts.
    for layer in plain.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, rng.normal(0, 0.1, bias.shape)])
    normalized = build("vgg16", (48, 48, 1), 7, {"batch_norm": True})
    copy_normalized(plain, normalized, coarse)
    for name in ("block1_relu1", "block2_pool", "block5_pool"):
        ours, theirs = (
            np.asarray(
                keras.ops.convert_to_numpy(
                    keras.Model(net.inputs[0], net.get_layer(name).output)(coarse.astype(np.float32))
                )
            )
            for net in (normalized, plain)
        )
        live = theirs.std((0, 1, 2)) > 1e-4 * theirs.std()
        assert live.mean() > 0.5
        ratio = ours[..., live].sum((0, 1, 2)) / theirs[..., live].sum((0, 1, 2))
        np.testing.assert_allclose(ours[..., live], theirs[..., live] * ratio, rtol=2e-2, atol=2e-2)
    spread = keras.Model(normalized.inputs[0], normalized.get_layer("block5_bn3").output)(coarse.astype(np.float32))
    np.testing.assert_allclose(np.asarray(keras.ops.convert_to_numpy(spread)).std((0, 1, 2)), 1.0, atol=0.02)


def test_weights_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.weights.h5").write_bytes(b"no weights")
    network = build("mobilenet", (96, 96, 1), 7, {})
    for weights in (tmp_path / "bad.weights.h5", tmp_path / "absent.h5"):
        with pytest.raises(DataError, match=weights.name) as raised:
            load_pretrained("mobilenet", network, str(weights), NO_IMAGES)
        assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="no ImageNet weights for vgg3"):
        load_pretrained("vgg3", build("vgg3", (48, 48, 1), 7, {}), "imagenet", NO_IMAGES)


def test_a_stage_names_a_layer_that_is_there() -> None:
    network = build("vgg_lite", (48, 48, 1), 7, {"widths": [8, 16]})
    freeze_before(network, "block2")
    assert not network.get_layer("block1_conv1").trainable
    assert network.get_layer("block2_conv1").trainable
    with pytest.raises(ValueError, match="block9"):
        freeze_before(network, "block9")


def test_a_plateau_lowers_the_rate_as_a_function_of_the_history() -> None:
    assert plateau_scale([]) == 1.0
    assert plateau_scale([1.0, 0.9, 0.8, 0.85, 0.85]) == 1.0
    assert plateau_scale([1.0, 0.9, 0.8, 0.85, 0.85, 0.8]) == pytest.approx(0.2)
    assert plateau_scale([0.8] * 7) == pytest.approx(0.04)


def test_training_goes_on_from_an_own_model_with_other_labels(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    seven = build("vgg_lite", (48, 48, 1), 7, {"widths": [8, 16]})
    with_softmax(seven, 1.0).save(tmp_path / "model.keras")
    four = build("vgg_lite", (48, 48, 1), 4, {"widths": [8, 16]})
    load_pretrained("vgg_lite", four, str(tmp_path / "model.keras"), NO_IMAGES)
    for name in ("block1_conv1", "block2_bn2"):
        for ours, theirs in zip(four.get_layer(name).get_weights(), seven.get_layer(name).get_weights(), strict=True):
            assert np.array_equal(ours, theirs)
    with pytest.raises(DataError, match="another size"):
        load_pretrained(
            "vgg_lite",
            build("vgg_lite", (48, 48, 1), 7, {"widths": [16, 16]}),
            str(tmp_path / "model.keras"),
            NO_IMAGES,
        )
    with pytest.raises(DataError, match="other layers"):
        load_pretrained("cnn5", build("cnn5", (48, 48, 1), 7, {}), str(tmp_path / "model.keras"), NO_IMAGES)
