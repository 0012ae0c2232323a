"""A job whose plan is sealed, as an actor gets it."""

from pathlib import Path

from autolabel import plan
from autolabel.config import InputConfig, LabelConfig
from autolabel.config.compose import compose_config
from autolabel.inputs.listing import list_images
from autolabel.output import run_record
from autolabel.output.settings import label_settings
from autolabel.pipeline.messages import LabelJob
from autolabel.prompts.ontology import Category, Ontology
from autolabel.storage import Storage, open_storage
from tests.support.scenes import write_scenes

ONTOLOGY = Ontology(
    categories=(
        Category(id=1, name="car", phrases=("car", "van")),
        Category(id=2, name="sign", phrases=("sign",), threshold=0.8, max_instances=1),
    )
)


def prepared(tmp_path: Path, *overrides: str) -> tuple[LabelJob, Storage]:
    """Plan a job over six drawn images, the last one broken, in units of three."""
    write_scenes(tmp_path / "in", count=5, seed=0)
    return planned_job(tmp_path, "output.unit_size=3", *overrides)


def planned_job(tmp_path: Path, *overrides: str) -> tuple[LabelJob, Storage]:
    """Plan a job over the images in `in`, its plan sealed."""
    uris = [f"input.uri={tmp_path}/in", f"output.uri={tmp_path}/out"]
    config: LabelConfig = compose_config("label", [*uris, *overrides])
    storage = open_storage(config.output.uri, {})
    listing = list_images(InputConfig(uri=config.input.uri))
    plan.seal(storage, config.output.uri, plan.encode(listing, unit_size=config.output.unit_size))
    settings = label_settings(config, ONTOLOGY, input_uri=config.input.uri, weights="those of a test")
    record = run_record.new_record(settings)
    return LabelJob.of(config, output_uri=config.output.uri, record=record, checkpoint_sha256=None), storage
