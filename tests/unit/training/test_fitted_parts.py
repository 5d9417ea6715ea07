"""The linear start of the direct path, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from msqnet.errors import ShapeError
from msqnet.labels import UNKNOWN
from msqnet.training.fitted_parts import (
    HeldOut,
    balanced_weights,
    fit_linear,
    fit_query_head,
    gain_over_direct,
    normalize_query,
)
from tests.fixtures.models import LABELS, random_inputs, tiny_model

NUM_ROWS, NUM_FEATURES, NUM_LABELS = 60, 20, 3
STRENGTH = 0.05


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    """Queries (N, D'') and targets (N, K), unbalanced, a quarter of them unknown."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(NUM_ROWS, NUM_FEATURES, generator=generator)
    slopes = torch.randn(NUM_FEATURES, NUM_LABELS, generator=generator)
    logits = queries @ slopes - torch.tensor([0.0, 3.0, 6.0])
    targets = (logits > torch.randn(NUM_ROWS, NUM_LABELS, generator=generator)).float()
    targets[torch.rand(NUM_ROWS, NUM_LABELS, generator=generator) < 0.25] = UNKNOWN
    return queries, targets


def test_fit_equals_balanced_logistic_regression_on_known_rows(
    data: tuple[Tensor, Tensor],
) -> None:
    queries, targets = data
    weight, bias = fit_linear(queries, targets, STRENGTH)
    for label in range(NUM_LABELS):
        is_known = targets[:, label] != UNKNOWN
        reference = LogisticRegression(
            C=STRENGTH, class_weight="balanced", tol=1e-8, max_iter=2000
        ).fit(queries[is_known].double().numpy(), targets[is_known, label].numpy())
        # Ours stops at a gradient of 1e-5 in float32; coefficients are of the size of 0.3.
        np.testing.assert_allclose(weight[label].numpy(), reference.coef_[0], atol=1e-3)
        assert bias[label].item() == pytest.approx(reference.intercept_[0], abs=1e-3)
        ours = (queries @ weight[label] + bias[label]).numpy()
        theirs = reference.decision_function(queries.double().numpy())
        assert np.array_equal(ours.argsort(), theirs.argsort())


def test_fit_of_one_label_a_row_equals_balanced_softmax_regression(
    data: tuple[Tensor, Tensor],
) -> None:
    queries, slopes = data[0], data[0][:NUM_LABELS]
    names = (queries @ slopes.T + torch.tensor([0.0, -2.0, -9.0])).argmax(dim=1)
    targets = torch.nn.functional.one_hot(names, NUM_LABELS + 1).float()  # the last is never there
    weight, bias = fit_linear(queries, targets, STRENGTH, one_label=True)
    reference = LogisticRegression(
        C=STRENGTH, class_weight="balanced", tol=1e-8, max_iter=2000
    ).fit(queries.double().numpy(), names.numpy())
    assert reference.coef_.shape == (NUM_LABELS, NUM_FEATURES)
    found = torch.nn.functional.linear(queries, weight, bias).softmax(dim=1).numpy()
    expected = reference.predict_proba(queries.double().numpy())
    np.testing.assert_allclose(found[:, :NUM_LABELS], expected, atol=5e-3)
    assert found[:, NUM_LABELS].max() < 5e-3


def test_views_of_the_same_rows_change_nothing(data: tuple[Tensor, Tensor]) -> None:
    queries, targets = data
    once = fit_linear(queries, targets, STRENGTH)
    twice = fit_linear(queries.repeat(2, 1), targets.repeat(2, 1), STRENGTH, num_views=2)
    for expected, found in zip(once, twice, strict=True):
        # Where the search stops, see above.
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_label_without_both_classes_stays_at_zero(data: tuple[Tensor, Tensor]) -> None:
    queries, targets = data[0], data[1].clone()
    targets[:, 0] = 1
    targets[:, 1] = UNKNOWN
    weight, bias = fit_linear(queries, targets, STRENGTH)
    assert not weight[:2].any()
    assert not bias[:2].any()
    assert weight[2].any()


def test_fit_stays_at_its_start_as_far_as_rows_do_not_speak_against_it(
    data: tuple[Tensor, Tensor],
) -> None:
    queries, targets = data[0], data[1].clone()
    targets[:, 0] = UNKNOWN
    start = torch.ones(NUM_LABELS, NUM_FEATURES), torch.ones(NUM_LABELS)
    weight, bias = fit_linear(queries, targets, STRENGTH, start=start)
    assert torch.equal(weight[0], start[0][0])
    assert bias[0] == 1
    from_zero = fit_linear(queries, targets, STRENGTH)[0]
    assert (weight[1:] - start[0][1:]).norm() < (from_zero[1:] - start[0][1:]).norm()
    # The optimum: |U - start|^2 / 2 pulls as strongly as the rows push.
    moved = weight.requires_grad_()
    logits = queries @ moved.T + bias
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, targets.clamp(min=0), STRENGTH * balanced_weights(targets), reduction="sum"
    )
    (losses + (moved - start[0]).square().sum() / 2).backward()
    torch.testing.assert_close(moved.grad, torch.zeros_like(weight), atol=1e-3, rtol=0)


def test_other_statistics_leave_a_fitted_path_the_same_function() -> None:
    model = tiny_model("lite")
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(6, 7680, generator=generator)
    targets = torch.eye(3).repeat(2, 1)
    normalize_query(model, queries)
    fit_query_head(model, queries, targets, STRENGTH, 1)
    asked = 3 + torch.randn(4, 7680, generator=generator)
    before = model.query_head(model.normalized(asked), None)
    normalize_query(model, 5 + 2 * queries, scene_weight=0.5)
    after = model.query_head(model.normalized(asked), None)
    assert before.std() > 0.1
    torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-3)


def test_balanced_weights_equal_numbers_worked_by_hand() -> None:
    targets = torch.tensor([[1, 1], [0, 1], [0, 1], [0, UNKNOWN], [UNKNOWN, 1]])
    expected = torch.tensor([[2, 0], [2 / 3, 0], [2 / 3, 0], [2 / 3, 0], [0, 0]])
    torch.testing.assert_close(balanced_weights(targets), expected)


def test_constant_features_are_not_divided_by_zero() -> None:
    model = tiny_model("lite")
    queries = torch.full((2, 7680), 7.0)
    queries[:, 0] = torch.tensor([1.0, 3.0])
    normalize_query(model, queries)
    assert model.query_mean[:2].tolist() == [2.0, 7.0]
    assert model.query_std[:2].tolist() == [1.0, 1.0]


def test_scene_counts_by_its_weight_beside_the_motion_crop() -> None:
    model = tiny_model("lite")
    scene = model.video_encoder.scene
    queries = torch.randn(5, 7680)
    normalize_query(model, queries)
    plain = model.normalized(queries)
    normalize_query(model, queries, scene_weight=0.25)
    weighted = model.normalized(queries)
    assert plain is not None
    assert weighted is not None
    torch.testing.assert_close(weighted[:, scene], 0.25 * plain[:, scene])
    assert torch.equal(weighted[:, scene.stop :], plain[:, scene.stop :])
    assert scene == slice(0, 3840)


def test_gain_is_what_the_best_share_adds() -> None:
    targets = np.array([[1], [0], [1], [0]], np.float32)
    right, wrong = np.array([[2], [0], [2], [0]]), np.array([[0], [2], [0], [1]])
    rows = np.arange(4)
    held_out = {
        (name, direct): HeldOut(rows, np.stack([parts[name], parts[direct]]), targets)
        for parts in ({"right": right, "wrong": wrong},)
        for name in parts
        for direct in parts
    }
    alone, poor = held_out["right", "right"], held_out["wrong", "wrong"]
    assert poor.macro_map(1.0) == 0.5
    assert gain_over_direct(alone, alone) == 0
    assert gain_over_direct(held_out["wrong", "right"], alone) == 0
    assert gain_over_direct(held_out["right", "wrong"], poor) == 0.5
    # A direct path that was trained further, together with the decoder.
    assert gain_over_direct(held_out["wrong", "right"], poor) == 0.5


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="3 queries for 2 rows"):
        fit_linear(torch.zeros(3, 2), torch.zeros(2, 1), STRENGTH)
    with pytest.raises(ShapeError, match="0 queries"):
        fit_linear(torch.zeros(0, 2), torch.zeros(0, 1), STRENGTH)


def test_fitted_head_answers_as_the_probe_does_and_is_frozen() -> None:
    model = tiny_model("lite")
    inputs = random_inputs("lite", 6)
    targets = torch.tensor([[1, 0, 0], [0, 1, UNKNOWN], [1, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1]])
    with torch.inference_mode():
        queries = model.video_query(model.encode(**inputs)).clone()
    for parameter in model.query_head.parameters():
        parameter.data.zero_()  # as in a new model
    normalize_query(model, queries)
    fit_query_head(model, queries, targets.float(), STRENGTH, 1)
    mean, deviation = queries.mean(dim=0), queries.std(dim=0, correction=0)
    standardised = (queries - mean) / torch.where(deviation > 1e-6, deviation, 1.0)
    weight, bias = fit_linear(standardised, targets.float(), STRENGTH)
    with torch.inference_mode():
        logits = model(**inputs).query_logits
    torch.testing.assert_close(logits, standardised @ weight.T + bias, atol=0.02, rtol=0.01)
    assert not any(parameter.requires_grad for parameter in model.query_head.parameters())
    assert logits.shape == (6, len(LABELS))


def test_head_fitted_to_views_apart_is_the_mean_of_both_fits() -> None:
    model = tiny_model("lite")
    scene = model.video_encoder.scene
    for parameter in model.query_head.parameters():
        parameter.data.zero_()
    queries = torch.randn(6, 7680, generator=torch.Generator().manual_seed(0))
    targets = torch.eye(3).repeat(2, 1)
    normalize_query(model, queries)
    fit_query_head(model, queries, targets, STRENGTH, 1, apart=True)
    normalized = model.normalized(queries)
    of_whole = fit_linear(normalized[:, scene], targets, STRENGTH)
    of_crops = fit_linear(normalized[:, scene.stop :], targets, STRENGTH)
    expected = torch.cat([of_whole[0], of_crops[0]], dim=1) / 2
    torch.testing.assert_close(model.query_head.weight, expected, atol=1e-4, rtol=1e-3)
    bias = (of_whole[1] + of_crops[1]) / 2
    torch.testing.assert_close(model.query_head.bias, bias, atol=1e-3, rtol=0)
    # What another model knows is a start for both views together.
    known = model.query_head.weight.clone()
    fit_query_head(model, queries, targets, STRENGTH, 1, apart=True)
    together = fit_linear(normalized, targets, STRENGTH, start=(known, bias))
    torch.testing.assert_close(model.query_head.weight, together[0], atol=1e-3, rtol=1e-3)


def test_targets_of_other_values_are_refused() -> None:
    model = tiny_model("lite")
    with pytest.raises(ShapeError, match="1, 0 and -100"):
        fit_query_head(model, torch.zeros(2, 7680), torch.full((2, 3), 0.5), STRENGTH, 1)
