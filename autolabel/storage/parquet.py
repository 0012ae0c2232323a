"""Parquet of unknown origin: damage is told as bad input, and no value of it runs code.

A column of an extension type turns into values by that type's own code, and Ray Data's pickled objects are such a type:
reading one would run whatever its author put there.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.errors import BadInput
from autolabel.storage import Storage


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """Raise BadInput for what pyarrow makes of damaged bytes in the block; errors of the storage pass."""
    try:
        yield
    except (pa.ArrowException, ValueError, OverflowError) as error:  # the last of a date that Python has none for
        raise BadInput(f"{uri}: not a Parquet file, or a damaged one: {error}") from error
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:
            raise
        raise BadInput(f"{uri}: not a Parquet file, or a damaged one: {error}") from error


def read_footer(storage: Storage, uri: str) -> pq.FileMetaData:
    """Return the footer alone.

    Raises:
        BadInput: there is none that can be read.
    """
    with reading(uri):
        return storage.read_with(uri, pq.read_metadata)


def extension_types(field: pa.Field) -> Iterator[str]:
    """Yield the names of the extension types in a column, at any depth."""
    if isinstance(field.type, pa.BaseExtensionType):
        yield field.type.extension_name
    elif isinstance(field.type, pa.DictionaryType):
        yield from extension_types(pa.field(field.name, field.type.value_type))
    else:
        for index in range(field.type.num_fields):
            yield from extension_types(field.type.field(index))


def checked(table: pa.Table, uri: str, *, may_be_null: Collection[str]) -> pa.Table:
    """Return the table itself.

    Raises:
        BadInput: its contents are damaged, or a value is missing in a field that `may_be_null` does not name.
    """
    with reading(uri):
        table.validate(full=True)
    for name, column in zip(table.column_names, table.columns, strict=True):
        for chunk in column.chunks:
            for field in fields_with_nulls(name, chunk, may_be_null):
                raise BadInput(f"{uri}: a value of {field} is missing")
    return table


def fields_with_nulls(name: str, values: pa.Array, may_be_null: Collection[str]) -> Iterator[str]:
    """Yield dotted names of the fields of a column, itself included, in which a value is missing that may not be."""
    if values.null_count and name not in may_be_null:
        yield name
    elif pa.types.is_list(values.type):
        yield from fields_with_nulls(name, values.flatten(), may_be_null)
    elif pa.types.is_struct(values.type):
        for field, child in zip(values.type, values.flatten(), strict=True):
            yield from fields_with_nulls(f"{name}.{field.name}", child, may_be_null)
