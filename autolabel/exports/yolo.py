"""YOLO segmentation, as Ultralytics' trainers read it: `yolo/data.yaml`, `<split>.txt` and `labels/<split>/*.txt`.

A line of a label file is a class, counted from 0 in the order of categories, and the points of one polygon as
fractions of width and height. Parts and holes are joined into that one polygon by lines there and back, as
Ultralytics' converter joins parts, so nothing is lost but the pixels of these lines. Images without instances have an
empty file. There are no scores: whoever wants only sure labels raises the threshold first.

Images are not copied. `<split>.txt` lists where they are expected, `./images/<split>/<name>` beside it, because
Ultralytics finds the label of an image by replacing the last `/images/` of its path by `/labels/`, and the suffix by
`.txt`. So the folder of the input, a local one or a copy, is linked once for each split, and training starts:

    mkdir yolo/images
    ln -s /data/photos yolo/images/train
    ln -s /data/photos yolo/images/val
    yolo segment train data=yolo/data.yaml model=yolo11n-seg.pt

Names that this rule cannot keep apart (`a.jpg` and `a.png`) or mistakes (a folder `images` below the input's) are
listed as `./images/by-id/<image id>` instead: `images.csv` says of every image which one belongs where.
"""

import csv
import io
import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import yaml

from autolabel.exports.base import Export, NamedImage
from autolabel.exports.file_names import BY_ID, Stems
from autolabel.masks.polygons import QUARTER_PX, Fit, filled_iou, ring
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.storage.uris import scheme_of
from autolabel.wording import counted

FILES = r"labels/.+\.txt|[a-z][a-z0-9_]*\.txt|images\.csv|data\.yaml"
SUFFIXES = ("bmp", "jpg", "jpeg", "png", "tif", "tiff", "webp")  # of images that every Ultralytics reads
# No folder `images`, which would be replaced, and no `./`, which stands for the list's folder wherever it is in a path.
WANTED = rf"(?!(.*/)?images/)(?!.*\./).*\.({'|'.join(SUFFIXES)})"


@dataclass(frozen=True, kw_only=True)
class Written:
    """Files of one image: `path` is where it is expected below `images/`."""

    image: NamedImage
    split: str
    path: str
    ious: tuple[float, ...]


def write(export: Export) -> str:
    stems = Stems(export.names(), wanted=WANTED)
    n_images, n_by_id, fit = Counter[str](), 0, Fit()
    with ExitStack() as stack:
        lists = {split: stack.enter_context(export.replace(f"{split}.txt")) for split in export.splits.names}
        table = stack.enter_context(export.replace("images.csv"))
        table.write(csv_line(["path", "uri"]))
        for written in in_threads(partial(write_image, export, stems), export.images(), IO_THREADS):
            lists[written.split].write(f"./images/{written.path}\n".encode())
            table.write(csv_line([f"images/{written.path}", written.image.labels.uri]))
            n_images[written.split] += 1
            n_by_id += written.path.startswith(f"{BY_ID}/")
            for iou in written.ious:
                fit.add(iou)
    names = [category.name for category in export.output.record.settings.ontology.categories]
    lists_of = {split: f"{split}.txt" for split in export.splits.names}
    export.write("data.yaml", yaml.safe_dump({**lists_of, "names": dict(enumerate(names))}, sort_keys=False).encode())
    counts = ", ".join(f"{split} {n_images[split]}" for split in export.splits.names)
    images, polygons = counted(n_images.total(), "image"), counted(fit.n, "polygon")
    told = [f"{export.uri('data.yaml')}: {images} ({counts}), {polygons}, {export.left_out}"]
    told += [str(fit), how_to_train(export)]
    for split in export.splits.names:
        if not n_images[split]:
            told.append(f"{split} is empty: with more images or a larger share it would not be")
    if n_by_id:
        told.append(f"{n_by_id} images belong under images/{BY_ID} instead, as images.csv says")
    return "\n".join(told)


def write_image(export: Export, stems: Stems, image: NamedImage) -> Written:
    split, stem = export.splits.split_of(image.name), stems.of(image.labels.image_id, image.name)
    place = stem if stem.startswith(f"{BY_ID}/") else f"{split}/{stem}"
    suffix = image.name.rpartition(".")[2]
    class_of = {category.id: n for n, category in enumerate(export.output.record.settings.ontology.categories)}
    height, width = image.size_hw
    lines, ious = [], []
    for instance in image.labels.instances:
        line = ring(instance.rle)
        ious.append(filled_iou(instance.rle, line))
        # A quarter of a pixel in: the same pixel for readers who round and for those who cut off.
        points = ((line + QUARTER_PX) / (width, height)).ravel().tolist()
        lines.append(" ".join([str(class_of[instance.category_id]), *(f"{value:.6f}" for value in points)]) + "\n")
    export.write(f"labels/{place}.txt", "".join(lines).encode())
    path = f"{place}.{suffix if suffix.lower() in SUFFIXES else SUFFIXES[1]}"
    return Written(image=image, split=split, path=path, ious=tuple(ious))


def csv_line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def how_to_train(export: Export) -> str:
    root, images = export.output.plan.input_root, export.uri("images")
    if {scheme_of(root), scheme_of(images)} != {"file"}:
        return f"To train, copy this folder and the images of {root} to a disk, and link images/<split> to these images"
    links = [f"ln -sfn {shlex.quote(root)} {shlex.quote(f'{images}/{split}')}" for split in export.splits.names]
    return "\n".join(
        ["To train, link the images first:", f"  mkdir -p {shlex.quote(images)}", *(f"  {x}" for x in links)]
    )
