"""Step 7 of 7, use: how good labels are, against a ground truth that may know only a part of them."""

from dataclasses import dataclass
from typing import Any

import orjson

from autolabel.config import EvaluateConfig
from autolabel.errors import BadInput
from autolabel.evaluation.coco_metrics import coco_metrics
from autolabel.evaluation.comparison import compare
from autolabel.evaluation.concept_metrics import concept_metrics
from autolabel.evaluation.curves import category_curves
from autolabel.evaluation.detections import Detections, read_labels, read_results
from autolabel.evaluation.ground_truth import GroundTruth, read_ground_truth
from autolabel.evaluation.matching import CategoryMatch, match_categories, match_images
from autolabel.evaluation.object_metrics import object_metrics
from autolabel.evaluation.plots import f1_svg, precision_recall_svg
from autolabel.evaluation.prompts_yaml import prompts_yaml
from autolabel.evaluation.summary import Evaluation
from autolabel.output.job_output import open_output
from autolabel.prompts.ontology import Ontology
from autolabel.storage import check_output, open_storage
from autolabel.storage.uris import absolute_uri, join

FOLDER = "evaluation"


@dataclass(frozen=True, kw_only=True)
class _Evaluated:
    """Labels to be held against the ground truth, in its ids of images and the ontology's of categories."""

    uri: str
    ontology: Ontology
    match: CategoryMatch
    detections: Detections
    image_ids: frozenset[int]
    images_missing: tuple[str, ...] = ()
    images_ambiguous: tuple[str, ...] = ()


def evaluate(config: EvaluateConfig) -> str:
    """Measure, and write evaluation.json, prompts.yaml and two plots; the table to close with.

    Raises:
        BadInput: the ground truth or the results are not what they should be, they have nothing in common, or the
            job is not finished where it matters.
    """
    folder, options = _folder(config)
    check_output(folder, "evaluation.uri")
    truth_uri = absolute_uri(config.ground_truth.uri)
    truth = read_ground_truth(_read("ground_truth.uri", truth_uri, config.ground_truth.storage_options), truth_uri)
    evaluated = _labels(config, truth) if config.results.uri is None else _results(config, config.results.uri, truth)
    detections = evaluated.detections
    comparison = compare(truth, detections, evaluated.match, evaluated.image_ids)
    coco, ap_of = coco_metrics(comparison)
    curves = category_curves(comparison, detections.threshold_of, detections.floor_of)
    evaluation = Evaluation(
        ground_truth_uri=truth_uri,
        evaluated_uri=evaluated.uri,
        ontology=evaluated.ontology,
        comparison=comparison,
        match=evaluated.match,
        images_missing=evaluated.images_missing,
        images_ambiguous=evaluated.images_ambiguous,
        images_rejected=detections.rejected,
        coco=coco,
        ap_of=ap_of,
        concepts=concept_metrics(comparison),
        curves=curves,
        objects=object_metrics(truth, detections.object_masks),
    )
    names = {category.id: category.name for category in evaluated.ontology.categories}
    prompts = prompts_yaml(evaluated.ontology, detections.threshold_of, {one.category_id: one for one in curves})
    contents = {
        "evaluation.json": orjson.dumps(evaluation.to_json(), option=orjson.OPT_INDENT_2),
        "prompts.yaml": prompts.encode(),
        "precision_recall.svg": precision_recall_svg(curves, names),
        "f1.svg": f1_svg(curves, names),
    }
    storage = open_storage(folder, options)
    for name, data in contents.items():
        storage.overwrite(join(folder, name), data)
    return "\n".join([evaluation.to_text(), "", *(join(folder, name) for name in contents)])


def _labels(config: EvaluateConfig, truth: GroundTruth) -> _Evaluated:
    output = open_output(config.output)
    match = match_categories(truth, output.record.settings.ontology)
    images = match_images(truth, output)
    return _Evaluated(
        uri=output.uri,
        ontology=output.record.settings.ontology,
        match=match,
        detections=read_labels(output, truth, images, match),
        image_ids=frozenset(images.planned),
        images_missing=images.missing,
        images_ambiguous=images.ambiguous,
    )


def _results(config: EvaluateConfig, uri: str, truth: GroundTruth) -> _Evaluated:
    uri = absolute_uri(uri)
    document = _read("results.uri", uri, config.results.storage_options)
    ontology = truth.ontology(absolute_uri(config.ground_truth.uri))
    match = match_categories(truth, ontology)
    return _Evaluated(
        uri=uri,
        ontology=ontology,
        match=match,
        detections=read_results(document, uri, truth, ontology, match, config.results.threshold),
        image_ids=frozenset(truth.image),
    )


def _read(name: str, uri: str, storage_options: dict[str, Any]) -> bytes:
    try:
        return open_storage(uri, storage_options).read(uri)
    except FileNotFoundError as error:
        raise BadInput(f"{name}: {uri} does not exist") from error


def _folder(config: EvaluateConfig) -> tuple[str, dict[str, Any]]:
    """Return where the files go, and the options of its storage."""
    if config.evaluation.uri is None:
        return join(config.output.uri, FOLDER), config.output.storage_options
    return absolute_uri(config.evaluation.uri), config.evaluation.storage_options
