from __future__ import annotations

import msgspec
import numpy as np
import pytest

from fer_train.augment import Augmentation, augment, mixup_shares
from fer_train.recipe import Recipe
from tests.train.synthetic_fer2013 import SyntheticFer2013

pytest.importorskip("keras", reason="needs the train extra")

from fer_train.batches import TrainingBatches
from fer_train.training_data import prepare
from fer_train.workers import Workers

NOTHING = Augmentation(
    flip=0,
    rotate_deg=0,
    scale=0,
    shift=0,
    contrast=0,
    brightness=0,
    gamma=0,
    exposure=0,
    blur=0,
    jpeg=0,
    erase=0,
    erase_side=0.1,
)
CHANGES = ["rotate_deg", "scale", "shift", "contrast", "brightness", "gamma", "exposure", "blur", "jpeg", "erase"]


def test_everything_switched_off_changes_nothing(synthetic_fer2013: SyntheticFer2013) -> None:
    rng = np.random.default_rng(0)
    for image in synthetic_fer2013.pixels[:20]:
        assert np.array_equal(augment(image, NOTHING, rng), image)


def test_flip_mirrors(synthetic_fer2013: SyntheticFer2013) -> None:
    flip = msgspec.structs.replace(NOTHING, flip=1.0)
    image = synthetic_fer2013.pixels[0]
    assert np.array_equal(augment(image, flip, np.random.default_rng(0)), image[:, ::-1])


@pytest.mark.parametrize(
    "field", ["rotate_deg", "scale", "shift", "contrast", "brightness", "gamma", "exposure", "blur", "jpeg", "erase"]
)
def test_each_setting_changes_something(synthetic_fer2013: SyntheticFer2013, field: str) -> None:
    strong = {"rotate_deg": 30.0, "blur": 1.0, "erase": 1.0, "jpeg": 1.0}.get(field, 0.5)
    settings = msgspec.structs.replace(NOTHING, **{field: strong, "erase_side": 0.5})
    image = synthetic_fer2013.pixels[0]
    assert not np.array_equal(augment(image, settings, np.random.default_rng(1)), image)


def test_overexposure_goes_upwards_only() -> None:
    image = np.full((48, 48), 100, np.uint8)
    over, both = (
        msgspec.structs.replace(NOTHING, **{field: 1.0, **extra})
        for field, extra in (("overexposure", {"exposure": 0.25}), ("exposure", {"overexposure": 0.25}))
    )
    rng = np.random.default_rng(0)
    levels = [int(augment(image, over, rng)[0, 0]) for _ in range(200)]
    assert min(levels) in range(84, 88)  # 100 * 2 ** -0.25
    assert max(levels) in range(195, 201)  # 100 * 2
    levels = [int(augment(image, both, rng)[0, 0]) for _ in range(200)]
    assert min(levels) in range(50, 53)
    assert max(levels) in range(195, 201)


@pytest.mark.parametrize(("brighter", "least", "most"), [(0.75, 0.7, 0.8), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)])
def test_the_exposure_goes_up_as_often_as_it_should(brighter: float, least: float, most: float) -> None:
    image = np.full((48, 48), 100, np.uint8)
    settings = msgspec.structs.replace(NOTHING, exposure=1.0, brighter=brighter)
    rng = np.random.default_rng(0)
    levels = np.array([int(augment(image, settings, rng)[0, 0]) for _ in range(400)])
    away = levels[levels != 100]
    assert least <= (away > 100).mean() <= most
    assert levels.min() in (range(50, 53) if brighter < 1 else range(100, 102))
    assert levels.max() in (range(195, 201) if brighter > 0 else range(99, 101))


def recipe_of(augmentation: Augmentation) -> Recipe:
    return Recipe(model="vgg_lite", epochs=1, batch_size=16, seed=3, augmentation=augmentation)


def test_batches_depend_on_seed_and_epoch_alone(synthetic_fer2013: SyntheticFer2013) -> None:
    recipe = recipe_of(Augmentation())
    data = prepare(recipe, synthetic_fer2013.as_data())

    def batch(epoch: int, index: int) -> np.ndarray:
        pixels: np.ndarray = TrainingBatches(data, recipe, epoch)[index][0]
        return pixels

    assert np.array_equal(batch(0, 1), batch(0, 1))
    assert not np.array_equal(batch(0, 1), batch(1, 1))
    assert not np.array_equal(batch(0, 0), batch(0, 1))


def test_an_epoch_shows_each_image_once(synthetic_fer2013: SyntheticFer2013) -> None:
    recipe = recipe_of(NOTHING)
    data = prepare(recipe, synthetic_fer2013.as_data())
    batches = TrainingBatches(data, recipe, epoch=0)
    shown = np.concatenate([batches[i][0] for i in range(len(batches))])[..., 0].astype(np.uint8)
    assert len(shown) == len(data.pixels) // 16 * 16
    assert {image.tobytes() for image in shown} <= {image.tobytes() for image in data.pixels}
    assert len({image.tobytes() for image in shown}) == len(shown)


def test_the_parts_of_two_workers_are_the_batch_of_one(synthetic_fer2013: SyntheticFer2013) -> None:
    recipe = recipe_of(Augmentation(blur=0.5, jpeg=0.5, erase=0.5, exposure=0.3, mixup=0.4))
    data = prepare(recipe, synthetic_fer2013.as_data())

    class One(Workers):
        def __init__(self, rank: int) -> None:
            self.rank, self.size, self.parts = rank, 2, 2

    for index in (0, 3):
        whole = TrainingBatches(data, recipe, epoch=1)[index]
        parts = [TrainingBatches(data, recipe, epoch=1, workers=One(rank))[index] for rank in (0, 1)]
        for theirs, halves in zip(whole, zip(*parts, strict=True), strict=True):
            assert np.array_equal(theirs, np.concatenate(halves))


def test_mixup_takes_the_mean_of_two_images_and_of_their_targets(synthetic_fer2013: SyntheticFer2013) -> None:
    sharp = msgspec.structs.replace(recipe_of(NOTHING), label_smoothing=0.0)
    recipe = msgspec.structs.replace(sharp, augmentation=msgspec.structs.replace(NOTHING, mixup=0.5))
    data = prepare(recipe, synthetic_fer2013.as_data())
    mixed, plain = TrainingBatches(data, recipe, 0), TrainingBatches(data, sharp, 0)
    last = len(plain) - 1
    for index, following in ((0, 1), (last, 0)):
        (images, targets), (own, own_targets), (others, other_targets) = mixed[index], plain[index], plain[following]
        # The shares are in the targets where the two classes differ; they must be those of the images.
        differ = own_targets.argmax(axis=1) != other_targets.argmax(axis=1)
        shares = (targets * own_targets).sum(axis=1) / np.square(own_targets).sum(axis=1)
        assert ((shares >= 0.5) & (shares <= 1.0 + 1e-6)).all()
        assert 0.55 < shares[differ].mean() < 0.95
        expected = shares[:, None, None, None] * own + (1 - shares[:, None, None, None]) * others
        np.testing.assert_allclose(images[differ], expected[differ], atol=1.0)
        np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=1e-5)


def test_shares_of_mixup_are_beta_distributed() -> None:
    rng = np.random.default_rng(0)
    assert (mixup_shares(0.0, 5, rng) == 1).all()
    flat = mixup_shares(1.0, 20_000, rng)  # uniform, so its larger side has a mean of three quarters
    assert flat.mean() == pytest.approx(0.75, abs=0.005)
    assert mixup_shares(0.2, 20_000, rng).mean() > 0.85
