from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_edge.contract.labels import LABELS, UNCERTAIN
from fer_edge.vision.smoothing import ExpressionSmoother, SmoothingSettings

PLAIN = SmoothingSettings(time_constant_s=0.4, margin=0.1, uncertain_below=0.0)


def sure_of(label: str, probability: float = 0.94) -> NDArray[np.float32]:
    row = np.full(len(LABELS), (1 - probability) / (len(LABELS) - 1), np.float32)
    row[LABELS.index(label)] = probability
    return row


def test_the_first_look_counts_in_full() -> None:
    smoother = ExpressionSmoother(LABELS, PLAIN)
    expression = smoother.update(1, sure_of("happy"), 5.0)
    assert expression.label == "happy"
    assert expression.score == pytest.approx(0.94)
    np.testing.assert_allclose(expression.probabilities, sure_of("happy"))


def test_after_one_time_constant_a_change_has_arrived_to_63_percent() -> None:
    smoother = ExpressionSmoother(LABELS, PLAIN)
    smoother.update(1, sure_of("happy", 1.0), 0.0)
    expression = smoother.update(1, sure_of("sad", 1.0), 0.4)
    assert expression.probabilities[LABELS.index("sad")] == pytest.approx(1 - np.exp(-1), abs=1e-6)


@pytest.mark.parametrize("fps", [5, 15, 30, 120])
def test_the_outcome_does_not_depend_on_the_frame_rate(fps: int) -> None:
    smoother = ExpressionSmoother(LABELS, PLAIN)
    smoother.update(1, sure_of("happy", 1.0), 0.0)
    for n in range(1, fps + 1):
        expression = smoother.update(1, sure_of("sad", 1.0), n / fps)
    assert expression.probabilities[LABELS.index("happy")] == pytest.approx(np.exp(-1 / 0.4), abs=1e-5)


def test_probabilities_still_add_up_to_one() -> None:
    rng = np.random.default_rng(0)
    smoother = ExpressionSmoother(LABELS, PLAIN)
    for n in range(2000):
        expression = smoother.update(1, rng.dirichlet(np.ones(7)).astype(np.float32), n / 30)
    assert expression.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert expression.score == pytest.approx(expression.probabilities.max())


def test_a_label_needs_a_lead_to_change() -> None:
    settings = SmoothingSettings(time_constant_s=0.0, margin=0.2, uncertain_below=0.0)
    smoother = ExpressionSmoother(("calm", "glad"), settings)
    shown = [
        smoother.update(1, np.array([p, 1 - p], np.float32), n / 30).label
        for n, p in enumerate([0.6, 0.45, 0.55, 0.41, 0.35, 0.55, 0.59, 0.65])
    ]
    assert shown == ["calm", "calm", "calm", "calm", "glad", "glad", "glad", "calm"]


def test_hysteresis_stops_flicker_where_two_labels_are_close() -> None:
    def changes(margin: float) -> int:
        rng = np.random.default_rng(1)
        smoother = ExpressionSmoother(("calm", "glad"), SmoothingSettings(0.2, margin, 0.0))
        shown = []
        for n in range(600):
            p = float(np.clip(rng.normal(0.5, 0.15), 0, 1))
            shown.append(smoother.update(1, np.array([p, 1 - p], np.float32), n / 30).label)
        return sum(a != b for a, b in itertools.pairwise(shown))

    assert changes(0.0) > 30
    assert changes(0.3) < 5


def test_a_weak_best_is_uncertain_and_its_score_is_still_told() -> None:
    smoother = ExpressionSmoother(LABELS, SmoothingSettings(0.0, 0.0, 0.5))
    weak = smoother.update(1, sure_of("fear", 0.45), 0.0)
    assert weak.label == UNCERTAIN
    assert weak.score == pytest.approx(0.45)
    assert smoother.update(1, sure_of("fear", 0.55), 0.1).label == "fear"


def test_a_threshold_of_zero_is_never_uncertain() -> None:
    smoother = ExpressionSmoother(LABELS, SmoothingSettings(0.0, 0.0, 0.0))
    assert smoother.update(1, np.full(7, 1 / 7, np.float32), 0.0).label in LABELS


def test_faces_do_not_share_a_window() -> None:
    smoother = ExpressionSmoother(LABELS, PLAIN)
    for n in range(30):
        first = smoother.update(1, sure_of("happy"), n / 30)
        second = smoother.update(2, sure_of("angry"), n / 30)
    assert (first.label, second.label) == ("happy", "angry")
    np.testing.assert_allclose(first.probabilities, sure_of("happy"), atol=1e-6)


def test_the_dead_are_forgotten_and_nothing_grows() -> None:
    smoother = ExpressionSmoother(LABELS, PLAIN)
    for track_id in range(1, 1001):
        smoother.update(track_id, sure_of("happy"), track_id / 30)
        smoother.forget({track_id, track_id - 1})
    assert len(smoother) == 2
    assert smoother.current(1) is None
    assert smoother.update(1, sure_of("sad"), 50.0).label == "sad"


def test_the_present_expression_can_be_asked_for() -> None:
    smoother = ExpressionSmoother(LABELS, PLAIN)
    told = smoother.update(4, sure_of("surprise"), 0.0)
    asked = smoother.current(4)
    assert asked is not None
    assert (asked.label, asked.score) == (told.label, told.score)


def test_what_was_told_does_not_change_afterwards() -> None:
    smoother = ExpressionSmoother(LABELS, PLAIN)
    row = sure_of("happy")
    told = smoother.update(1, row, 0.0)
    before = told.probabilities.copy()
    row[:] = 0
    smoother.update(1, sure_of("sad"), 1.0)
    np.testing.assert_array_equal(told.probabilities, before)


def test_time_that_runs_backwards_changes_nothing_and_then_goes_on() -> None:
    smoother = ExpressionSmoother(LABELS, PLAIN)
    smoother.update(1, sure_of("happy"), 100.0)
    assert smoother.update(1, sure_of("sad"), 0.0).label == "happy"
    assert smoother.update(1, sure_of("sad"), 2.0).label == "sad"


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="7 labels need as many probabilities"):
        ExpressionSmoother(LABELS).update(1, np.zeros(6, np.float32), 0.0)
    with pytest.raises(ValueError, match="at least one label"):
        ExpressionSmoother(())
    with pytest.raises(ValueError, match="time_constant_s must be"):
        SmoothingSettings(time_constant_s=-1.0)
    with pytest.raises(ValueError, match="margin must be"):
        SmoothingSettings(margin=1.0)
    with pytest.raises(ValueError, match="uncertain_below must be"):
        SmoothingSettings(uncertain_below=float("nan"))
