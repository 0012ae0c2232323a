"""The review queue: every image that was looked at, by the mistakes to be expected on it, as `review.parquet`.

Which mistakes these are, `reasons` tells; `doubts` finds them in a unit's rows, and here all of them get their rank.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.labels.columns import Floats, Ints
from autolabel.review import reasons
from autolabel.review.doubts import Doubts
from autolabel.review.overlaps import Overlaps
from autolabel.review.reasons import REASONS
from autolabel.storage import Storage
from autolabel.storage.uris import join

NAME = "review.parquet"
ROWS_PER_GROUP = 65_536

SCHEMA = pa.schema(
    [
        pa.field("rank", pa.int64(), nullable=False),  # from 1
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("priority", pa.float32(), nullable=False),  # mistakes to be expected
        pa.field("reasons", pa.struct([(reason, pa.float32()) for reason in REASONS]), nullable=False),
        pa.field("categories", pa.list_(pa.string()), nullable=False),  # names of those in doubt
    ]
)


class ReviewQueue:
    """Ranks all images of an output: some two hundred and fifty bytes of each are held, at most 600."""

    def __init__(self, units: Sequence[Doubts], overlaps: Overlaps) -> None:
        """Rank the images; `units` are in the order of the plan, `overlaps` those of all of them together."""
        units = [unit.with_disagreements(overlaps) for unit in units]
        empty = np.zeros((0, len(REASONS)), np.float32)
        self.image_id: Ints = np.concatenate([np.zeros(0, np.int64), *(unit.image_id for unit in units)])
        self.reasons: Floats = np.concatenate([empty, *(unit.reasons for unit in units)])
        self.priority: Floats = reasons.priority(self.reasons)
        self._uri = pa.chunked_array([unit.uri for unit in units], pa.large_string()).combine_chunks()
        self._categories = pa.chunked_array([unit.categories for unit in units], pa.list_(pa.int32())).combine_chunks()
        self.order: Ints = np.argsort(-self.priority, kind="stable")  # of equal doubt, the lower image_id comes first

    def __len__(self) -> int:
        return len(self.image_id)

    def tables(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Give the queue in its order, by SCHEMA; `names` are those of the ontology's categories, in its order."""
        known = pa.array(names, pa.string())
        for start in range(0, len(self), ROWS_PER_GROUP):
            order = self.order[start : start + ROWS_PER_GROUP]
            places = self._categories.take(order)
            columns = [
                pa.array(np.arange(start + 1, start + 1 + len(order))),
                pa.array(self.image_id[order]),
                self._uri.take(order).cast(pa.string()),
                pa.array(self.priority[order]),
                pa.StructArray.from_arrays(list(self.reasons[order].T), fields=list(SCHEMA.field("reasons").type)),
                pa.ListArray.from_arrays(places.offsets, known.take(places.values)),
            ]
            yield pa.Table.from_arrays(columns, schema=SCHEMA)

    def write(self, storage: Storage, output_uri: str, names: Sequence[str]) -> str:
        """Write the file, in place of an earlier one; its URI."""
        uri = join(output_uri, NAME)
        with storage.replace(uri) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
            for table in self.tables(names):
                writer.write_table(table)
        return uri
