"""Which image and which category of the ground truth is which of an output."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from autolabel.errors import BadInput
from autolabel.evaluation.ground_truth import GroundTruth
from autolabel.output.job_output import JobOutput
from autolabel.plan import PlannedImage
from autolabel.prompts.ontology import Ontology, normalized, sameness


@dataclass(frozen=True, kw_only=True)
class CategoryMatch:
    """`category_of` an id of the ground truth's is the id of the ontology's; the others have names alone."""

    category_of: Mapping[int, int]
    only_in_truth: tuple[str, ...]
    only_in_ontology: tuple[str, ...]

    @cached_property
    def truth_ids_of(self) -> dict[int, list[int]]:
        """Return, by category of the ontology, those of the ground truth that it stands for, ids ascending."""
        found: dict[int, list[int]] = {id: [] for id in sorted(set(self.category_of.values()))}
        for truth_id, category_id in sorted(self.category_of.items()):
            found[category_id].append(truth_id)
        return found


@dataclass(frozen=True, kw_only=True)
class ImageMatch:
    """Planned images by id of the ground truth's image, and file names of those that are none or cannot be told."""

    planned: Mapping[int, PlannedImage]
    missing: tuple[str, ...]
    ambiguous: tuple[str, ...]


def match_categories(truth: GroundTruth, ontology: Ontology) -> CategoryMatch:
    """Match by name, and where no category has that name by phrase; several of the truth may be one of the job's.

    Raises:
        BadInput: not one is the same.
    """
    by_name = {category.name: category.id for category in ontology.categories}
    by_phrase = {sameness(phrase): category.id for category in ontology.categories for phrase in category.phrases}
    category_of = {}
    for truth_id, name in truth.name_of.items():
        category_id = by_name.get(normalized(name), by_phrase.get(sameness(normalized(name))))
        if category_id is not None:
            category_of[truth_id] = category_id
    match = CategoryMatch(
        category_of=category_of,
        only_in_truth=tuple(name for id, name in truth.name_of.items() if id not in category_of),
        only_in_ontology=tuple(one.name for one in ontology.categories if one.id not in category_of.values()),
    )
    if not category_of:
        theirs, ours = (", ".join(names[:10]) for names in (match.only_in_truth, match.only_in_ontology))
        raise BadInput(f"ground_truth.uri: no category in common: {theirs or 'none'} there, {ours} in the output")
    return match


def match_images(truth: GroundTruth, output: JobOutput) -> ImageMatch:
    """Match by file name as exports give it, else by whole URI, else by the last part of the name where it is unique.

    The plan is read through once; what is held is no more than the ground truth's images.

    Raises:
        BadInput: not one is the same.
    """
    names = Counter(image.file_name for image in truth.images)
    last_parts = Counter(map(last_part, names.elements()))
    by_name: dict[str, PlannedImage] = {}
    by_uri: dict[str, PlannedImage] = {}
    by_last_part: dict[str, PlannedImage] = {}
    n_of_last_part: Counter[str] = Counter()
    for image in _planned(output):
        end = last_part(image.uri)
        if end in last_parts:  # as it is, too, where the whole name or URI is the same
            n_of_last_part[end] += 1
            by_last_part.setdefault(end, image)
            if (name := output.file_name(image.uri)) in names:
                by_name[name] = image
            if image.uri in names:
                by_uri[image.uri] = image

    planned: dict[int, PlannedImage] = {}
    missing: list[str] = []
    ambiguous: list[str] = []
    taken: set[int] = set()
    for one in truth.images:
        end = last_part(one.file_name)
        only_one = n_of_last_part[end] == last_parts[end] == 1
        found = by_name.get(one.file_name) or by_uri.get(one.file_name) or (by_last_part[end] if only_one else None)
        if found and names[one.file_name] == 1 and found.image_id not in taken:
            planned[one.id] = found
            taken.add(found.image_id)
        else:
            (ambiguous if n_of_last_part[end] else missing).append(one.file_name)
    if not planned:
        examples = ", ".join(repr(name) for name in [*missing, *ambiguous][:5])
        first = output.file_name(output.plan.images_of(0)[0].uri)
        raise BadInput(
            f"ground_truth.uri: none of its {len(truth.images)} images is an image of the output: {examples} there, "
            f"{first!r} in the output"
        )
    return ImageMatch(planned=planned, missing=tuple(missing), ambiguous=tuple(ambiguous))


def last_part(name: str) -> str:
    """Return `a.jpg` of `folder/a.jpg`."""
    return name.rpartition("/")[2]


def _planned(output: JobOutput) -> Iterator[PlannedImage]:
    for _, images in output.plan.units():
        yield from images
