"""Measurements behind decisions: python jobs/benchmark.py CASE [options], a JSON line per result.

demo    quality of the demo model on 200 scenes that it was not trained on, and its speed on one core
engine  images a second at full size, against Meta's processor and its batched call (--model, --prompts, --images)
exports  exports of a million instances: seconds, and the memory of its process (--formats, --images)
fetch   who fetches: CPU tasks ahead of the labelling actor, or the actor's own threads
flops   operations, traffic and launches at full size, counted, not run
gpu     all that is unknown of a GPU in nine minutes, with torch and little more: what must be equal, speed (--out)
host    decoding, resizing, run lengths, NMS and Parquet, each against the plain way
objects  masks of given boxes and of a grid, against Meta's predictor one at a time (--model, --boxes)
pipeline  the whole job with a model that costs nothing, against one process and a plain Ray Data script (--images)
refine  a million stored candidates decided again without the model
report  `autolabel report` of 100,000 images with a million instances, with its memory (--images)
review  whether the review order puts the images with the most mistakes first, on scenes with truth (--scenes, --seed)
scale   planning, resuming, the status, checking and exporting of ten million images (--images)
"""

import argparse
import sys
from importlib import import_module

CASES = [
    "demo",
    "engine",
    "exports",
    "fetch",
    "flops",
    "gpu",
    "host",
    "objects",
    "pipeline",
    "refine",
    "report",
    "review",
    "scale",
]
WITH_OPTIONS = ["engine", "exports", "gpu", "objects", "pipeline", "report", "review", "scale"]

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    chosen, options = parser.parse_known_args()
    if options and chosen.case not in WITH_OPTIONS:
        parser.error(f"{chosen.case} takes no options")
    run = import_module(f"benchmarks.{chosen.case}").run
    sys.exit(run(options) if options else run())
