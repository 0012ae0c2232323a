"""`autolabel refine` as a script: ray job submit --working-dir . -- python jobs/refine.py key=value ..."""

import sys

from autolabel.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["refine", *sys.argv[1:]]))
