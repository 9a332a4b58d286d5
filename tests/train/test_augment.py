from __future__ import annotations

import numpy as np
import pytest

from fer_edge.contract.preprocess import FER2013_INPUT
from fer_train.augment import Augmentation, augment
from fer_train.batches import TrainingBatches
from tests.train.synthetic_fer2013 import SyntheticFer2013

NOTHING = Augmentation(
    flip=0, rotate_deg=0, scale=0, shift=0, contrast=0, brightness=0, gamma=0, blur=0, erase=0, erase_side=0.1
)


def test_everything_switched_off_changes_nothing(synthetic_fer2013: SyntheticFer2013) -> None:
    rng = np.random.default_rng(0)
    for image in synthetic_fer2013.pixels[:20]:
        assert np.array_equal(augment(image, NOTHING, rng), image)


def test_flip_mirrors(synthetic_fer2013: SyntheticFer2013) -> None:
    flip = Augmentation(
        flip=1, rotate_deg=0, scale=0, shift=0, contrast=0, brightness=0, gamma=0, blur=0, erase=0, erase_side=0.1
    )
    image = synthetic_fer2013.pixels[0]
    assert np.array_equal(augment(image, flip, np.random.default_rng(0)), image[:, ::-1])


@pytest.mark.parametrize("field", ["rotate_deg", "scale", "shift", "contrast", "brightness", "gamma", "blur", "erase"])
def test_each_setting_changes_something(synthetic_fer2013: SyntheticFer2013, field: str) -> None:
    import msgspec

    strong = {"rotate_deg": 30.0, "blur": 1.0, "erase": 1.0}.get(field, 0.5)
    settings = msgspec.structs.replace(NOTHING, **{field: strong, "erase_side": 0.5})
    image = synthetic_fer2013.pixels[0]
    assert not np.array_equal(augment(image, settings, np.random.default_rng(1)), image)


def test_batches_depend_on_seed_and_epoch_alone(synthetic_fer2013: SyntheticFer2013) -> None:
    data = synthetic_fer2013.as_data().split("Training")
    targets = np.eye(7, dtype=np.float32)[data.labels]

    def batch(epoch: int, index: int) -> np.ndarray:
        batches = TrainingBatches(data.pixels, targets, FER2013_INPUT, Augmentation(), 16, seed=3, epoch=epoch)
        pixels: np.ndarray = batches[index][0]
        return pixels

    assert np.array_equal(batch(0, 1), batch(0, 1))
    assert not np.array_equal(batch(0, 1), batch(1, 1))
    assert not np.array_equal(batch(0, 0), batch(0, 1))


def test_an_epoch_shows_each_image_once(synthetic_fer2013: SyntheticFer2013) -> None:
    data = synthetic_fer2013.as_data().split("Training")
    targets = np.eye(7, dtype=np.float32)[data.labels]
    batches = TrainingBatches(data.pixels, targets, FER2013_INPUT, NOTHING, 16, seed=3, epoch=0)
    shown = np.concatenate([batches[i][0] for i in range(len(batches))])[..., 0].astype(np.uint8)
    assert len(shown) == len(data.pixels) // 16 * 16
    assert {image.tobytes() for image in shown} <= {image.tobytes() for image in data.pixels}
    assert len({image.tobytes() for image in shown}) == len(shown)
