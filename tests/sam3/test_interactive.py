"""The head for points and boxes against Meta's own predictor, one image and one object at a time."""

from collections.abc import Iterator

import pytest
import torch
from benchmarks.predictor import metas_predictor

from autolabel.sam3.architecture import TINY
from autolabel.sam3.interactive import (
    LARGEST_LOGIT,
    NO_POINT,
    ObjectFeatures,
    ObjectForward,
    Proposals,
    decoded,
    image_terms,
    positions_of,
    stabilities,
)
from autolabel.sam3.objects import ObjectQuery, ObjectResult
from autolabel.sam3.preprocess import normalize
from autolabel.sam3.upstream import Sam3Image
from tests.sam3.objects import KINDS, PIXELS, OneAtATime, R, engine, queries, seeded

CLOSE = 1e-5  # of logits with a standard deviation of about 1


@pytest.fixture(scope="module")
def model() -> Sam3Image:
    return seeded(both=True)


@pytest.fixture(scope="module")
def meta(model: Sam3Image) -> OneAtATime:
    return OneAtATime(metas_predictor(model, TINY))


@pytest.fixture(scope="module")
def asked() -> list[ObjectQuery]:
    return queries(0, 60)


@pytest.fixture(scope="module")
def found(model: Sam3Image, asked: list[ObjectQuery]) -> list[ObjectResult]:
    return engine(model).segment_objects(PIXELS, asked)


def form(asked: ObjectQuery) -> tuple[int, bool, bool]:
    return len(asked.labels), 2 in asked.labels, asked.mask_logits is not None


def test_equals_metas_predictor_one_at_a_time(
    meta: OneAtATime, asked: list[ObjectQuery], found: list[ObjectResult]
) -> None:
    """One mask, with the fallback, or, for a point alone, the best of three."""
    assert {form(one)[1:] for one in asked} == {(False, False), (True, False), (False, True), (True, True)}
    assert len({form(one) for one in asked}) == len(KINDS)
    for one, ours in zip(asked, found, strict=True):
        alone = form(one) == (1, False, False)
        logits, ious = meta.ask(one, multimask=alone)
        best = int(ious.argmax())
        assert ours.score == pytest.approx(ious[best].item(), abs=1e-6)
        torch.testing.assert_close(
            ours.mask_logits[0].clamp(-LARGEST_LOGIT, LARGEST_LOGIT), logits[best], atol=CLOSE, rtol=0
        )


def test_all_four_masks_equal_metas(model: Sam3Image, meta: OneAtATime, asked: list[ObjectQuery]) -> None:
    forward = ObjectForward(model.backbone.vision_backbone.trunk, model.interactive)
    decoder = model.interactive.sam_mask_decoder
    fell_back = 0
    with torch.inference_mode():
        features = forward.images(normalize(PIXELS))
        for one in asked[:24]:
            proposals = forward.objects(
                features,
                torch.tensor([one.image]),
                torch.tensor(one.points_xy).view(1, -1, 2) * R,
                torch.tensor([one.labels], dtype=torch.float32),
                None if one.mask_logits is None else one.mask_logits[None, None],
            )
            three, ious = meta.ask(one, multimask=True)
            torch.testing.assert_close(clamped(proposals.logits[0, 1:]), three, atol=CLOSE, rtol=0)
            torch.testing.assert_close(proposals.ious[0, 1:], ious, atol=1e-6, rtol=0)
            single, iou = meta.ask(one, multimask=False)
            logits, score = proposals.stable_or_best(decoder)
            torch.testing.assert_close(clamped(logits), single, atol=CLOSE, rtol=0)
            torch.testing.assert_close(score, iou, atol=1e-6, rtol=0)
            fell_back += not torch.equal(logits, proposals.logits[:, 0])
    assert fell_back > 0


def clamped(logits: torch.Tensor) -> torch.Tensor:
    """As Meta's predictor gives them."""
    return logits.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)


def test_answers_are_not_degenerate(asked: list[ObjectQuery], found: list[ObjectResult]) -> None:
    """The comparison above says little if every answer is the same."""
    logits = torch.cat([one.mask_logits for one in found])
    assert 0.3 < logits.std() < 3
    covered = (logits > 0).float().mean(dim=(1, 2))
    assert ((covered > 0.02) & (covered < 0.98)).float().mean() > 0.9
    assert covered.std() > 0.05
    for image in range(len(PIXELS)):
        of_image = [result for one, result in zip(asked, found, strict=True) if one.image == image]
        assert len({round(result.score, 6) for result in of_image}) == len(of_image)
        assert len({round(result.presence, 6) for result in of_image}) == len(of_image)


def random_proposals() -> Iterator[torch.Tensor]:
    """Masks of every stability, all of one value, and of nothing at all."""
    generator = torch.Generator().manual_seed(0)
    for scale in (0.02, 0.1, 0.5, 2.0, 10.0):
        yield torch.randn(40, 4, 16, 16, generator=generator) * scale
    yield torch.full((3, 4, 16, 16), -1.0)
    yield torch.full((3, 4, 16, 16), 0.0)
    yield torch.randn(40, 4, 16, 16, generator=generator) * 0.2 + 1.0


def test_the_fallback_is_metas(model: Sam3Image) -> None:
    decoder = model.interactive.sam_mask_decoder
    n_stable, n_all = 0, 0
    for logits in random_proposals():
        ious = torch.rand(len(logits), 4, generator=torch.Generator().manual_seed(1))
        own = Proposals(logits=logits, ious=ious, present=ious[:, 0]).stable_or_best(decoder)
        metas = decoder._dynamic_multimask_via_stability(logits, ious)
        assert torch.equal(own[0], metas[0][:, 0])
        assert torch.equal(own[1], metas[1][:, 0])
        stable = stabilities(logits[:, 0], decoder.dynamic_multimask_stability_delta)
        assert torch.equal(stable, decoder._get_stability_scores(logits[:, :1])[:, 0])
        n_stable += int((stable >= decoder.dynamic_multimask_stability_thresh).sum())
        n_all += len(logits)
    assert 20 < n_stable < n_all - 20


def test_the_best_of_three_is_never_the_one_mask() -> None:
    logits = torch.arange(8.0).view(2, 4, 1, 1)
    ious = torch.tensor([[0.9, 0.1, 0.3, 0.2], [0.9, 0.5, 0.4, 0.3]])
    masks, scores = Proposals(logits=logits, ious=ious, present=ious[:, 0]).best_of_three()
    assert masks.flatten().tolist() == [2.0, 5.0]
    assert scores.tolist() == pytest.approx([0.3, 0.5])


def test_nothing_looks_at_points_that_fill_up(model: Sam3Image) -> None:
    """Meta's predictor would: one point of no meaning more moves its logits."""
    forward = ObjectForward(model.backbone.vision_backbone.trunk, model.interactive)
    points, labels = torch.rand(3, 2, 2) * R, torch.tensor([[2.0, 3.0]] * 3)
    more = torch.cat([points, torch.rand(3, 2, 2) * R], dim=1)
    more_labels = torch.cat([labels, torch.full((3, 2), float(NO_POINT))], dim=1)
    image = torch.tensor([0, 1, 1])
    with torch.inference_mode():
        features = forward.images(normalize(PIXELS[:2]))
        plain = forward.objects(features, image, points, labels)
        filled = forward.objects(features, image, more, more_labels, padded=True)
        seen = forward.objects(features, image, more, more_labels)
    torch.testing.assert_close(filled.logits, plain.logits, atol=CLOSE, rtol=0)
    torch.testing.assert_close(filled.ious, plain.ious, atol=1e-6, rtol=0)
    assert (seen.logits - plain.logits).abs().max() > 0.01


def test_the_head_can_be_trained_through() -> None:
    """Every weight of the head has a gradient."""
    own = seeded()
    head = own.interactive
    with torch.no_grad():
        trunk = own.backbone.vision_backbone.trunk(normalize(PIXELS[:1]))[-1]
    positions = positions_of(head)
    features = ObjectFeatures(**image_terms(head, positions, [conv(trunk) for conv in head.sam2_convs]))
    points, labels = torch.rand(2, 4, 2) * R, torch.tensor([[2.0, 3.0, 0.0, 1.0]] * 2)
    masks = torch.randn(2, 1, 4 * TINY.feature_side, 4 * TINY.feature_side)
    total = torch.zeros(())
    for before in (None, masks):
        out = decoded(head, positions, features, torch.tensor([0, 0]), points, labels, before)
        total = total + sum(each.square().mean() for each in out.values())
    total.backward()
    without = [name for name, each in head.named_parameters() if each.grad is None or not each.grad.any()]
    assert without == []
