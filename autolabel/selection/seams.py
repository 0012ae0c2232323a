"""What several windows of an image saw, as instances of the image: one object is one instance, whoever saw it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from autolabel.images.windows import Window
from autolabel.labels.types import Instance
from autolabel.masks.rle import area, bbox_xywh, common, pairwise_overlap, rectangle, union
from autolabel.selection.rules import Rules, nms, shared_area

SAME_IOU = 0.5  # of two masks, where both windows see: more, and they are of one object
CUT_WITHIN_PX = 20  # of a crop's edge: SAM's mask generator takes a mask that comes so near for one that is cut off

Seen = Sequence[Sequence[Instance]]  # by each window, in the image's pixels


def joined(windows: Sequence[Window], seen: Seen) -> list[Instance]:
    """Return instances of an image that overlapping windows saw parts of, with the masks of their parts together.

    Two are of one object if they are of one category, and their masks the same (IoU) in the strip that both windows
    see: what is cut off at the edge of one window goes on in the other. The most certain pairs come first, and no
    object is twice in a window, so that a poor mask over two objects does not make them one.

    What several windows look at has several chances to be taken for something that it is not. So an object is there
    where a window saw it, or a part of it, whose middle is nearer to that than any other's, with the score from there.
    """
    found = [(window, instance) for window, instances in enumerate(seen) for instance in instances]
    first = np.cumsum([0, *map(len, seen)]).tolist()
    pairs: list[tuple[float, float, int, int]] = []
    for a, b in combinations(range(len(windows)), 2):
        if strip := windows[a].shared_with(windows[b]):
            for i, j, iou in same_within(strip, seen[a], seen[b]):
                pairs.append((min(seen[a][i].score, seen[b][j].score), iou, first[a] + i, first[b] + j))
    group_of = [{index} for index in range(len(found))]
    for _, _, one, other in sorted(pairs, key=lambda pair: (-pair[0], -pair[1], pair[2:])):
        together = group_of[one] | group_of[other]
        if group_of[one] is not group_of[other] and len({found[index][0] for index in together}) == len(together):
            for index in together:
                group_of[index] = together
    groups = {min(group): sorted(group) for group in group_of}
    is_own = own(windows, seen)
    objects = []
    for least in sorted(groups):
        parts = [found[index][1] for index in groups[least]]
        if of_own := [found[index][1] for index in groups[least] if is_own[index]]:
            objects.append(as_one(max(of_own, key=lambda part: part.score), parts))
    return objects


def own(windows: Sequence[Window], seen: Seen) -> list[bool]:
    """Tell of each instance, window by window, whether no window has its middle nearer to it than the one that saw it.

    A window with others in it, as the whole image is, shows what those do not: its instances are its own.
    """
    outer = [any(window.shared_with(other) == other != window for other in windows) for window in windows]
    tiles = [number for number, has_others in enumerate(outer) if not has_others]
    places = [(windows[n].left, windows[n].top, windows[n].width, windows[n].height) for n in tiles]
    middles_xy = np.array([middle_xy(*place) for place in places])
    told = []
    for number, instances in enumerate(seen):
        for instance in instances:
            away = np.hypot(*(middles_xy - middle_xy(*instance.bbox_xywh)).T)
            told.append(outer[number] or tiles[int(away.argmin())] == number)
    return told


def middle_xy(left: float, top: float, width: float, height: float) -> tuple[float, float]:
    return left + width / 2, top + height / 2


def same_within(strip: Window, a: Sequence[Instance], b: Sequence[Instance]) -> Iterator[tuple[int, int, float]]:
    """Give which of `a` and of `b` look the same in a strip of their image, by index, and their IoU there."""
    there_a, there_b = reaching(strip, a), reaching(strip, b)
    if not (there_a and there_b):
        return
    mask = rectangle((strip.left, strip.top, strip.width, strip.height), a[0].rle.size_hw)
    in_a, in_b = common([a[i].rle for i in there_a], mask), common([b[j].rle for j in there_b], mask)
    for row, column in np.argwhere((overlap := pairwise_overlap(in_a, in_b, "iou")) > SAME_IOU).tolist():
        i, j = there_a[row], there_b[column]
        if a[i].category_id == b[j].category_id:
            yield i, j, float(overlap[row, column])


def reaching(strip: Window, instances: Sequence[Instance]) -> list[int]:
    """Return which instances have their box in a strip."""
    if not instances:
        return []
    box = np.array([strip.left, strip.top, strip.width, strip.height], dtype=np.float64)
    boxes_xywh = np.array([instance.bbox_xywh for instance in instances])
    return [int(index) for index in np.flatnonzero(shared_area(box, boxes_xywh))]


def as_one(told: Instance, parts: Sequence[Instance]) -> Instance:
    """Return the instance that several are parts of, with what one of them tells beside the mask."""
    if len(parts) == 1:
        return told
    rle = union([part.rle for part in parts])
    return replace(told, rle=rle, area_px=area(rle), bbox_xywh=bbox_xywh(rle))


def large(instances: Sequence[Instance], longer_than_px: int) -> list[Instance]:
    """Return the instances with a side longer than that; all others some tile sees whole."""
    return [instance for instance in instances if max(instance.bbox_xywh[2:]) > longer_than_px]


def unique_in_crops(windows: Sequence[Window], seen: Seen, iou: float) -> list[Instance]:
    """Return what crops of an image show, each once, and nothing that is cut off at the edge of a crop.

    Of two masks with more IoU than that, the one stays that is of the smaller crop.
    """
    height, width = max(window.bottom for window in windows), max(window.right for window in windows)
    closest_first = sorted(range(len(windows)), key=lambda n: windows[n].width * windows[n].height)
    ranked = [
        instance
        for n in closest_first
        for instance in sorted(seen[n], key=lambda instance: -instance.score)
        if not is_cut(instance, windows[n], (height, width))
    ]
    return nms(ranked, Rules(nms_within=iou))


def is_cut(instance: Instance, window: Window, size_hw: tuple[int, int]) -> bool:
    """Tell whether a mask comes close to an edge of a window that is not one of the image."""
    height, width = size_hw
    left, top, box_width, box_height = instance.bbox_xywh
    return any(
        abs(at - edge) <= CUT_WITHIN_PX and abs(at - end) > CUT_WITHIN_PX
        for at, edge, end in (
            (left, window.left, 0),
            (top, window.top, 0),
            (left + box_width, window.right, width),
            (top + box_height, window.bottom, height),
        )
    )
