"""`autolabel evaluate` as a script: ray job submit --working-dir . -- python jobs/evaluate.py key=value ..."""

import sys

from autolabel.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
