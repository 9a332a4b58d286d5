"""What a recipe makes of the data: classes, balance, votes, and the mistake on purpose."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from fer_edge.contract.labels import LABELS
from fer_edge.errors import DataError, UsageError
from fer_train.fer2013 import Fer2013
from fer_train.leak import oversampled_then_split
from fer_train.recipe import Recipe
from fer_train.targets import blend_votes, expected_labels, smooth_targets
from fer_train.training_data import prepare, split_of
from tests.train.synthetic_fer2013 import SyntheticFer2013

PLAIN = Recipe(model="vgg_lite", epochs=1, label_smoothing=0.0)
FOUR = ("happy", "sad", "surprise", "neutral")


@pytest.fixture(scope="module")
def data(synthetic_fer2013: SyntheticFer2013) -> Fer2013:
    return synthetic_fer2013.as_data()


@pytest.fixture(scope="module")
def uneven(data: Fer2013) -> Fer2013:
    """The same with most of Training's disgust gone."""
    disgust = np.flatnonzero((data.labels == 1) & (data.splits == 0))
    return data.take(np.setdiff1d(np.arange(len(data)), disgust[2:]))


def test_four_classes_keep_their_images_and_get_new_ids(data: Fer2013) -> None:
    recipe = msgspec.structs.replace(PLAIN, classes=FOUR)
    prepared = prepare(recipe, data)
    original = data.split("Training")
    kept = np.isin(original.labels, [LABELS.index(name) for name in FOUR])
    assert np.array_equal(prepared.pixels, original.pixels[kept])
    names = [FOUR[i] for i in prepared.targets.argmax(axis=1)]
    assert names == [LABELS[i] for i in original.labels[kept]]
    assert prepared.targets.shape[1] == 4
    assert set(split_of(recipe, data, "PrivateTest").labels) == {0, 1, 2, 3}


def test_sampling_draws_each_class_alike(uneven: Fer2013) -> None:
    chance = prepare(msgspec.structs.replace(PLAIN, balance="sampling"), uneven).chance
    labels = uneven.split("Training").labels
    assert chance is not None
    np.testing.assert_allclose([chance[labels == c].sum() for c in range(7)], 1 / 7)


def test_weights_make_each_class_as_heavy(uneven: Fer2013) -> None:
    weights = prepare(msgspec.structs.replace(PLAIN, balance="weights"), uneven).weights
    labels = uneven.split("Training").labels
    assert weights is not None
    np.testing.assert_allclose([weights[labels == c].sum() for c in range(7)], len(labels) / 7, rtol=1e-5)
    assert weights.mean() == pytest.approx(1.0)


def test_a_class_without_images_is_named(data: Fer2013) -> None:
    without = data.take(np.flatnonzero(data.labels != 2))
    with pytest.raises(DataError, match="no image of fear"):
        prepare(PLAIN, without)


def test_votes_sharpen_what_the_labels_say() -> None:
    """Labels are wrong in a third of the rows, votes in none: the expectation must favour what the votes say."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 7, 4000)
    labels = np.where(rng.random(4000) < 0.3, rng.integers(0, 7, 4000), truth)
    votes = np.zeros((4000, 10), np.float32)
    votes[np.arange(4000), (truth + 3) % 7] = 10  # the columns are in another order, which the fit must find out
    expected = expected_labels(labels, votes, 7)
    np.testing.assert_allclose(expected.sum(axis=1), 1.0, rtol=1e-5)
    assert (expected.argmax(axis=1) == truth).all()
    # 70 % right, plus a seventh of the 30 % drawn anew.
    assert expected[np.arange(4000), truth].mean() == pytest.approx(0.743, abs=0.03)
    blended = blend_votes(smooth_targets(labels, 7, 0.0), labels, votes, 0.4)
    np.testing.assert_allclose(blended.sum(axis=1), 1.0, rtol=1e-5)
    assert (blended[np.arange(4000), labels] >= 0.6).all()


def test_a_recipe_with_votes_asks_for_them(data: Fer2013) -> None:
    with pytest.raises(UsageError, match="--ferplus"):
        prepare(msgspec.structs.replace(PLAIN, ferplus=0.4), data)


def test_the_mistake_puts_the_same_image_on_both_sides(uneven: Fer2013) -> None:
    honest = {image.tobytes() for image in uneven.split("Training").pixels}
    assert not honest & {image.tobytes() for image in uneven.split("PrivateTest").pixels}
    known = []
    for seed in range(10):
        leaked = oversampled_then_split(uneven, seed)
        counts = np.bincount(leaked.labels)
        assert (counts == counts.max()).all(), "every class is repeated up to the commonest"
        private = leaked.split("PrivateTest")
        trained_on = {image.tobytes() for image in leaked.split("Training").pixels}
        known += [image.tobytes() in trained_on for image in private.pixels[private.labels == 1]]
    assert np.mean(known) > 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["happy", "happy"]}, "each once"),
        ({"classes": ["happy", "joy"]}, "must be some of"),
        ({"stages": [{"learning_rate": 0.1, "epochs": 1}]}, "the last has 0"),
        ({"stages": [{"learning_rate": 0.1, "epochs": 9}, {"learning_rate": 0.1}]}, "do not fit"),
        ({"ferplus": 0.5, "classes": ["happy", "sad"]}, "all seven"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({"model": "vgg_lite", "epochs": 4, **changes}, Recipe)
