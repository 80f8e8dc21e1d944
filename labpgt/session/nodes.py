"""The groups, texts, settings and growing tables that every file of labpgt is made of."""

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from labpgt.device import Setting
from labpgt.session import schema


def make_group(parent: h5py.Group, name: str, nx_class: str, **attributes: Any) -> h5py.Group:
    """Make a group of a NeXus class, with these attributes."""
    group = parent.create_group(name)
    group.attrs.update(NX_class=nx_class, **attributes)
    return group


def make_texts(file: h5py.File, path: str, contents: Mapping[str, str]) -> None:
    """Make a group of texts."""
    made = make_group(file, path, "NXcollection")
    for name, content in contents.items():
        make_text(made, name, content)


def make_text(parent: h5py.Group, name: str, text: str, length: int | None = None) -> None:
    """Make a text; with `length`, one that can be overwritten by another of so many bytes."""
    data = schema.encode(text, length)
    parent.create_dataset(name, data=data, dtype=schema.text_dtype(length or len(data)))


def make_table(parent: h5py.Group, name: str, dtype: np.dtype[Any]) -> None:
    """Make an empty dataset that grows along its first axis."""
    parent.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(schema.chunk_rows(dtype),))


def make_setting(group: h5py.Group, name: str, setting: Setting) -> None:
    """Write a setting with its unit; `ValueError` for a name that no dataset can have."""
    if "/" in name or name in ("", "."):
        raise ValueError(
            f"the device's setting {name!r} cannot be the name of a dataset; "
            "give it a name without '/' in the device's settings()"
        )
    if isinstance(setting.value, str):
        make_text(group, name, setting.value)
    else:
        group[name] = setting.value
    unit = schema.encode(setting.unit)
    # Not as the variable-length text that h5py would make of it: HDF5 keeps those without any checksum.
    group[name].attrs.create("units", unit, dtype=schema.text_dtype(len(unit)))


def make_root(file: h5py.File, default: str, time: float, provenance: Mapping[str, str]) -> None:
    """Write what NeXus asks of the root of a file, and the entry, whose default to plot is `default`."""
    file.attrs.update(
        NX_class="NXroot",
        default=schema.ENTRY,
        creator=schema.CREATOR,
        creator_version=provenance["labpgt"],
        file_time=schema.iso_time(time),
        h5py_version=provenance["h5py"],
        HDF5_Version=provenance["libhdf5"],
    )
    make_group(file, schema.ENTRY, "NXentry", default=default)
