"""Which of the instances found in an image are its labels; the others stay beside them as candidates."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from autolabel.image_labels import ImageLabels
from autolabel.postprocess import Instance, Rules, divide


def decide(image: ImageLabels, found: Sequence[Instance], rules: Rules) -> ImageLabels:
    """The row of an image in which `found` are divided into instances and candidates."""
    kept, others = divide(found, rules)
    n_of = Counter((instance.category_id, instance.phrase) for instance in kept)
    prompts = tuple(replace(p, n_instances=n_of[p.category_id, p.phrase]) for p in image.prompts)
    return replace(image, prompts=prompts, instances=tuple(kept), candidates=tuple(others))
