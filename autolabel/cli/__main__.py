"""`python -m autolabel.cli`, where a script of the environment is not on the PATH: in manifests, and for `submit`."""

import sys

from autolabel.cli import main

sys.exit(main())
