"""`autolabel label` as a script: ray job submit --working-dir . -- python jobs/label.py key=value ..."""

import sys

from autolabel.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["label", *sys.argv[1:]]))
