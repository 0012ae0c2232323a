"""Ground truth and detections side by side: one (image, category) pair after another, as far as the truth is known."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from autolabel.evaluation.detections import Detection, Detections
from autolabel.evaluation.ground_truth import GroundTruth, TruthImage, TruthObject
from autolabel.evaluation.matching import CategoryMatch


@dataclass(frozen=True, kw_only=True)
class ComparedPair:
    """An image and a category. Unless `exhaustive`, the image may hold more objects of it than `truth`.

    `category_id` is the ontology's, and `found` are best first.
    """

    image_id: int
    category_id: int
    truth: tuple[TruthObject, ...]
    found: Sequence[Detection]
    exhaustive: bool

    @property
    def labels(self) -> list[Detection]:
        return [one for one in self.found if one.is_label]

    @property
    def objects(self) -> list[TruthObject]:
        """Return the ground truth's objects without the crowds."""
        return [one for one in self.truth if not one.crowd]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The known pairs with any object or detection; of those without, exhaustively known, only how many there are.

    `n_unknown_pairs` of the images and categories say nothing, and `n_labels_unknown` labels on them count nowhere.
    """

    images: tuple[TruthImage, ...]
    category_ids: tuple[int, ...]
    pairs: list[ComparedPair]
    n_silent_of: Counter[int] = field(default_factory=Counter)
    n_partial_pairs: int = 0
    n_unknown_pairs: int = 0
    n_labels_unknown: int = 0


def compare(truth: GroundTruth, detections: Detections, match: CategoryMatch, image_ids: Collection[int]) -> Comparison:
    """Return every pair of these images with the categories of both sides.

    Where several categories of the ground truth are one of the ontology's, the pair has the objects of all of them (an
    object annotated under each counts once), and is known exhaustively only if each of them is.
    """
    images = tuple(image for image in truth.images if image.id in image_ids)
    pairs: list[ComparedPair] = []
    n_silent_of: Counter[int] = Counter()
    n_partial_pairs = n_unknown_pairs = n_labels_unknown = 0
    truth_ids_of = match.truth_ids_of
    for image in images:
        for category_id, truth_ids in truth_ids_of.items():
            objects = objects_of(truth, image, truth_ids)
            found = detections.of.get((image.id, category_id), ())
            known = all(truth.knows(image, id) for id in truth_ids)
            exhaustive = known and image.not_exhaustive.isdisjoint(truth_ids)
            if not known and not objects:
                n_unknown_pairs += 1
                n_labels_unknown += sum(one.is_label for one in found)
                continue
            n_partial_pairs += not exhaustive
            if objects or found:
                pairs.append(
                    ComparedPair(
                        image_id=image.id, category_id=category_id, truth=objects, found=found, exhaustive=exhaustive
                    )
                )
            else:
                n_silent_of[category_id] += exhaustive
    return Comparison(
        images=images,
        category_ids=tuple(truth_ids_of),
        pairs=pairs,
        n_silent_of=n_silent_of,
        n_partial_pairs=n_partial_pairs,
        n_unknown_pairs=n_unknown_pairs,
        n_labels_unknown=n_labels_unknown,
    )


def objects_of(truth: GroundTruth, image: TruthImage, truth_ids: Sequence[int]) -> tuple[TruthObject, ...]:
    """Return the objects of some categories on an image; of objects with the same mask, the first."""
    objects: list[TruthObject] = []
    for truth_id in truth_ids:
        seen = {(one.rle, one.crowd) for one in objects}
        own = truth.objects.get((image.id, truth_id), ())
        objects += [one for one in own if (one.rle, one.crowd) not in seen]
    return tuple(objects)
