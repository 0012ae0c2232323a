"""`python -m autolabel.demo FOLDER`: draw the images that `make demo` labels, one of them broken."""

import sys
from pathlib import Path

from autolabel.demo.scenes import write_scenes

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m autolabel.demo FOLDER")
    names = write_scenes(Path(sys.argv[1]), count=9, seed=7)
    print(f"{len(names)} images drawn in {sys.argv[1]}")
