"""What is learned: bundled, generated and own data sets as arrays, split and scaled."""

import csv
import hashlib
import io
import math
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labpgt.config import TaskConfig
from labpgt.errors import InputError
from labpgt.rng import Draw, generator
from labpgt.validation import nearest

_BUNDLED = {"breast-cancer": "load_breast_cancer", "iris": "load_iris", "wine": "load_wine", "digits": "load_digits"}
_MOST_CLASSES = 100
_MOST_BYTES = 1 << 28
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Dataset:
    """A classification task: features `(n, features)` float32, classes `(n,)` int64 indices into `target_names`.

    Scaled features are dimensionless, in standard deviations of the training part. `sha256` identifies shapes and
    values of the four arrays exactly.
    """

    name: str
    train_x: NDArray[np.float32]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    sha256: str


class _Samples(NamedTuple):
    """Features `(n, features)` as read or generated, and classes `(n,)`."""

    x: NDArray[np.float64]
    y: NDArray[np.int64]
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]


def load_dataset(task: TaskConfig, seed: int) -> Dataset:
    """Return the data of a task, split by class into training and test part and scaled by the training part alone.

    Scaling takes each feature to mean 0 and standard deviation 1; a feature that is constant in training becomes 0.
    The same task and seed give the same arrays. Raises `InputError` for a file that cannot be used and for classes
    too small to be in both parts.
    """
    samples = _samples(task, seed)
    train, test = _split(task, samples, seed)
    train_x, test_x = samples.x[train], samples.x[test]
    if task.standardize:
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(train_x)
        # What never varied in training has no scale: at 0 it says nothing, whatever its value in the test part.
        varies = np.ptp(train_x, axis=0) > 0
        train_x, test_x = (np.where(varies, scaler.transform(part), 0.0) for part in (train_x, test_x))
    arrays = (
        np.ascontiguousarray(train_x, dtype=np.float32),
        samples.y[train],
        np.ascontiguousarray(test_x, dtype=np.float32),
        samples.y[test],
    )
    return Dataset(task.name, *arrays, samples.feature_names, samples.target_names, _sha256(arrays))


def _sha256(arrays: Sequence[NDArray[np.generic]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _samples(task: TaskConfig, seed: int) -> _Samples:
    if task.name in _BUNDLED:
        # sklearn takes a second to import, so it is imported where a task needs it.
        from sklearn import datasets

        data = getattr(datasets, _BUNDLED[task.name])()
        features, targets = tuple(map(str, data.feature_names)), tuple(map(str, data.target_names))
        return _Samples(data.data.astype(np.float64), data.target.astype(np.int64), features, targets)
    if task.name == "csv":
        return _read_csv(task)
    random = generator(seed, 0, Draw.TASK)
    bits, odd = _parity(random, task.bits if task.name == "parity" else 2, task.samples)
    names = tuple(f"bit_{index}" for index in range(bits.shape[1]))
    if task.name == "hidden-xor":
        noise = 2.0 * random.integers(2, size=(task.samples, task.noise_features)) - 1.0
        names += tuple(f"noise_{index}" for index in range(task.noise_features))
        # Where the two bits hide depends on the seed; their names give them away to a person, not to the network.
        order = random.permutation(len(names))
        bits, names = np.hstack([bits, noise])[:, order], tuple(names[index] for index in order)
    return _Samples(bits, odd, names, ("even", "odd"))


def _parity(random: np.random.Generator, bits: int, samples: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return `bits` features of -1 and +1, and whether the number of +1 is odd; every pattern as often as any other.

    Patterns that do not fill another round are drawn without repetition.
    """
    rounds = math.ceil(samples / 2**bits)
    patterns = np.concatenate([random.permutation(2**bits) for _ in range(rounds)])[:samples]
    ones = ((patterns[:, np.newaxis] >> np.arange(bits)) & 1).astype(np.float64)
    return 2 * ones - 1, ones.sum(axis=1).astype(np.int64) % 2


def _split(task: TaskConfig, samples: _Samples, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the training and of the test part, each with every class in its share."""
    total, names = len(samples.y), samples.target_names
    counts = np.bincount(samples.y, minlength=len(names))
    where = f"task {task.name}, test_fraction = {task.test_fraction:g}"
    in_test = math.ceil(task.test_fraction * total)
    rarest = int(counts.argmin())
    if counts[rarest] < 2:
        raise InputError(
            f'{where}: class "{names[rarest]}" has 1 sample, but one is needed in the training and one in the test '
            "part. Add samples of it or remove it."
        )
    for part, size, change in (("test", in_test, "Raise"), ("training", total - in_test, "Lower")):
        if size < len(names):
            raise InputError(
                f"{where}: the {part} part has {size} of {total} samples, fewer than the {len(names)} classes. "
                f"{change} task.test_fraction or add samples."
            )
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(
        np.arange(total),
        test_size=task.test_fraction,
        stratify=samples.y,
        random_state=int(generator(seed, 0, Draw.SPLIT).integers(2**32)),
    )
    for part, indices, change in (("test", test, "Raise"), ("training", train, "Lower")):
        missing = np.setdiff1d(samples.y, samples.y[indices])
        if len(missing):
            raise InputError(
                f'{where}: class "{names[missing[0]]}" has {counts[missing[0]]} of {total} samples, and none of them '
                f"is in the {part} part. {change} task.test_fraction, add samples of it or remove it."
            )
    return train, test


def _read_csv(task: TaskConfig) -> _Samples:
    """Read a table with a header line, numeric features and one target, separated by comma, semicolon or tab."""
    path = Path(task.path or "").expanduser()
    text = _read_text(path)
    delimiter = max(",;\t", key=text.lstrip("\r\n").partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not a valid CSV line: {error}.") from error
    if not rows:
        raise InputError(f"{path}: the file is empty. Expected a header line and one line for each sample.")
    header = rows.pop(0)[1]
    target = _target_column(path, header, task.target)
    if not rows:
        raise InputError(f"{path}: only a header line. Expected one line for each sample after it.")
    names = header[:target] + header[target + 1 :]
    values, classes = [], []
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: {len(row)} columns, but the header line has {len(header)}.")
        if not row[target]:
            raise InputError(f'{path}, line {line}, column "{header[target]}": empty. Expected a class.')
        classes.append(row.pop(target))
        values.append([_number(path, line, *cell, delimiter) for cell in zip(names, row, strict=True)])
    target_names = _class_names(path, header[target], classes, names)
    index = {name: number for number, name in enumerate(target_names)}
    y = np.array([index[name] for name in classes], dtype=np.int64)
    return _Samples(np.array(values), y, tuple(names), target_names)


def _read_text(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        # What is neither, a pipe or a device, may never end, and opening it may wait for ever.
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise InputError(f"cannot read task.path = {path}: not a file. Expected CSV, saved as UTF-8.")
        with path.open("rb") as file:
            found = file.read(_MOST_BYTES + 1)
        if len(found) > _MOST_BYTES:
            raise InputError(
                f"cannot read task.path = {path}: more than {_MOST_BYTES >> 20} MiB, which is no data set for shots "
                "through a device. Check the path, or take a part of it."
            )
        text = found.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read task.path = {path}: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}). Expected CSV, saved as UTF-8.") from error
    if "\0" in text:
        raise InputError(f"{path}: a binary file. Expected CSV, saved as UTF-8.")
    return text


def _target_column(path: Path, header: list[str], target: str | None) -> int:
    """Return the index of the target, once the header is known to be one."""
    if all(map(_is_number, header)):
        raise InputError(
            f"{path}, line 1: every cell is a number, so the header line seems to be missing. "
            "Expected the names of the columns."
        )
    for number, name in enumerate(header):
        if not name:
            raise InputError(f"{path}, line 1: column {number + 1} has no name. Name it or remove it.")
        if name in header[:number]:
            raise InputError(f'{path}, line 1: two columns are named "{name}". Rename one of them.')
    if len(header) < 2:
        raise InputError(
            f'{path}, line 1: only one column, "{header[0]}". Expected features and a target, separated by comma, '
            "semicolon or tab."
        )
    if target is None:
        return len(header) - 1
    if target not in header:
        raise InputError(
            f'task.target = "{target}": no such column in {path}.{nearest(target, header)} Columns: {", ".join(header)}'
        )
    return header.index(target)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(path: Path, line: int, column: str, cell: str, delimiter: str) -> float:
    where = f'{path}, line {line}, column "{column}"'
    if not cell:
        raise InputError(f"{where}: empty. Expected a number: fill the cell or remove the line.")
    if not _is_number(cell):
        # A spreadsheet set to a European language writes 3,14 and separates by semicolons.
        comma = delimiter != "," and _is_number(cell.replace(",", "."))
        hint = " Write decimals with a point." if comma else " Features must be numeric: encode or remove the column."
        raise InputError(f'{where}: "{cell}" is not a number.{hint}')
    if not abs(float(cell)) <= _LARGEST:
        raise InputError(f'{where}: "{cell}" is not a finite float32 number. Fill in a value or remove the line.')
    return float(cell)


def _class_names(path: Path, column: str, classes: list[str], features: Sequence[str]) -> tuple[str, ...]:
    """Return the classes in alphabetical order, once they are known to be classes."""
    counts = Counter(classes)
    where = f'{path}, column "{column}"'
    if column in counts and any(map(_is_number, features)):
        raise InputError(
            f"{where}: the first line holds a class and numbers where names should be, so the header line seems to be "
            "missing. Expected the names of the columns."
        )
    if len(counts) == 1:
        raise InputError(f'{where}: every sample is "{classes[0]}". Expected at least two classes.')
    if len(counts) > _MOST_CLASSES or len(counts) == len(classes):
        raise InputError(
            f"{where}: {len(counts)} different values in {len(classes)} lines (at most {_MOST_CLASSES} classes): the "
            "target looks continuous; labpgt trains classifiers. Set task.target or group the values into classes."
        )
    return tuple(sorted(counts))
