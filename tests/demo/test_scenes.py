"""Scenes are what they say they are, again and again."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from autolabel.demo.phrases import COLORS, FILLS, PHRASES, SHAPES, SYNONYMS, WORDS, Kind, Phrase, phrase
from autolabel.demo.scenes import HEIGHTS_PX, MAX_OBJECTS, WIDTHS_PX, Scene, draw_scene
from autolabel.demo.vocabulary import known_token_ids
from autolabel.sam3.text import tokenizer

SEED = 5


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(SEED, index) for index in range(60)]


def test_a_scene_is_the_same_whenever_it_is_drawn(scenes: list[Scene]) -> None:
    again = draw_scene(SEED, 7)
    assert np.array_equal(again.rgb, scenes[7].rgb)
    assert np.array_equal(again.ids, scenes[7].ids)
    assert again.kinds == scenes[7].kinds
    other = draw_scene(SEED + 1, 7)
    assert other.rgb.shape != again.rgb.shape or not np.array_equal(other.rgb, again.rgb)


def test_sizes_and_counts_are_within_their_bounds(scenes: list[Scene]) -> None:
    for scene in scenes:
        height, width = scene.ids.shape
        assert scene.rgb.shape == (height, width, 3)
        assert scene.rgb.dtype == scene.ids.dtype == np.uint8
        assert WIDTHS_PX[0] <= width <= WIDTHS_PX[1]
        assert HEIGHTS_PX[0] <= height <= HEIGHTS_PX[1]
        assert 2 <= len(scene.kinds) <= MAX_OBJECTS
        assert set(np.unique(scene.ids)) == set(range(len(scene.kinds) + 1))  # every object shows, and the ground
        for index in range(len(scene.kinds)):
            rows, columns = (np.flatnonzero(scene.mask(index).any(axis)) for axis in (1, 0))
            assert np.ptp(columns) + 1 <= 0.41 * width
            assert max(np.ptp(columns), np.ptp(rows)) + 1 >= 0.015 * width  # 4% of a thin shape, partly hidden


def test_all_that_there_is_to_draw_is_drawn(scenes: list[Scene]) -> None:
    kinds = [kind for scene in scenes for kind in scene.kinds]
    assert {kind.color for kind in kinds} == set(COLORS)
    assert {kind.shape for kind in kinds} == set(SHAPES)
    assert {kind.fill for kind in kinds} == set(FILLS)
    assert len(SHAPES) >= 8
    assert len(COLORS) >= 8
    counts = Counter(len(scene.kinds) for scene in scenes)
    assert min(counts) <= 3
    assert max(counts) >= 15


def test_objects_have_the_colour_that_the_truth_says(scenes: list[Scene]) -> None:
    """Of plain objects, within their mask: exact masks and true kinds at once."""
    right = []
    for scene in scenes:
        for index, kind in enumerate(scene.kinds):
            if kind.fill == "plain":
                found = np.median(scene.rgb[scene.mask(index)], axis=0)
                nearest = min(COLORS, key=lambda name: np.abs(COLORS[name][0] - found).sum())
                right.append(nearest == kind.color)
    assert len(right) > 200
    assert np.mean(right) > 0.97


def test_objects_hide_each_other_sometimes(scenes: list[Scene]) -> None:
    """A square that is not whole has less area than its box promises, whatever its rotation."""
    shares = [
        scene.mask(index).sum() / full
        for scene in scenes
        for index, kind in enumerate(scene.kinds)
        if kind.shape == "circle"
        for rows, columns in [np.nonzero(scene.mask(index))]
        for full in [np.pi / 4 * (np.ptp(rows) + 1) * (np.ptp(columns) + 1)]
    ]
    assert min(shares) < 0.9
    assert np.median(shares) > 0.97


class TestPhrases:
    def test_a_phrase_means_what_it_names_and_nothing_else(self) -> None:
        circle = Kind(color="red", shape="circle", fill="striped")
        for one in (phrase(), phrase(color="red"), phrase("red", "circle"), phrase(shape="circle", fill="striped")):
            assert one.means(circle)
        for one in (phrase(color="blue"), phrase("red", "square"), phrase(shape="circle", fill="plain")):
            assert not one.means(circle)
        assert phrase(shape="square").means(replace(circle, shape="square"))

    def test_texts_are_plain_words_in_order_and_differ(self) -> None:
        assert phrase("red", "circle").text == "red circle"
        assert phrase(color="blue").text == "blue shape"
        assert phrase(shape="star", fill="striped").text == "striped star"
        texts = [one.text for one in PHRASES]
        assert len(set(texts)) == len(texts)
        assert {"shape", "triangle", "red shape", "purple moon", "striped heart"} <= set(texts)
        assert all(isinstance(one, Phrase) for one in PHRASES)

    def test_every_word_is_known_by_tokens_that_no_other_word_shares(self) -> None:
        clip, known = tokenizer(), set(known_token_ids())
        for word in WORDS:
            assert set(clip.encode(word)) <= known, word
        for synonyms in SYNONYMS.values():
            for synonym in synonyms:
                assert set(clip.encode(synonym)) <= known
        for word in ("elephant", "rectangle", "starfish", "redwood", "hearty", "moonlight"):
            assert not set(clip.encode(word)) <= known, word
        assert len(known) < 80
