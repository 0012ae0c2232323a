"""`autolabel demo-scenes` as a script: ray job submit --working-dir . -- python jobs/demo-scenes.py key=value ..."""

import sys

from autolabel.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["demo-scenes", *sys.argv[1:]]))
