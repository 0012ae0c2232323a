"""What is Google's or Azure's own, and a whole job on their emulators."""

from pathlib import Path
from typing import Any

import pytest

from autolabel.errors import BadInput, StorageError
from autolabel.output.verify import verify
from autolabel.pipeline.job import label
from autolabel.storage import open_storage
from tests.storage.conftest import STORE_KINDS
from tests.support import emulators
from tests.support.emulators import Cloud
from tests.support.jobs import label_config, verify_config
