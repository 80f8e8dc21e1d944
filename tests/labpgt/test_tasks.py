"""Data sets: split, scaling, determinism, generated tasks, and what a csv file can have wrong."""

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets
from sklearn.linear_model import LogisticRegression

from labpgt import tasks
from labpgt.config import TaskConfig
from labpgt.errors import InputError
from labpgt.tasks import Dataset, load_dataset

BUNDLED = {"breast-cancer": (569, 30, 2), "iris": (150, 4, 3), "wine": (178, 13, 3), "digits": (1797, 64, 10)}
GENERATED = {"parity": (512, 3, 2), "hidden-xor": (512, 20, 2)}


def everything(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    return np.vstack([dataset.train_x, dataset.test_x]), np.concatenate([dataset.train_y, dataset.test_y])


def flowers(samples: int = 30, seed: int = 0) -> list[list[str]]:
    random = np.random.default_rng(seed)
    rows = [
        [f"{a:.6f}", f"{b:.6f}", "rose" if n % 3 else "tulip"]
        for n, (a, b) in enumerate(random.normal(size=(samples, 2)))
    ]
    return [["length", "width", "kind"], *rows]


@pytest.fixture
def csv_task(tmp_path: Path) -> Callable[..., TaskConfig]:
    def write(rows: list[list[str]] | str | bytes, separator: str = ",", target: str | None = None) -> TaskConfig:
        path = tmp_path / "flowers.csv"
        text = "".join(separator.join(row) + "\n" for row in rows) if isinstance(rows, list) else rows
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return TaskConfig(name="csv", path=str(path), target=target)

    return write


def refusal(task: TaskConfig) -> str:
    with pytest.raises(InputError) as refused:
        load_dataset(task, 0)
    return str(refused.value)


# Any task


@pytest.mark.parametrize(("name", "shape"), [*BUNDLED.items(), *GENERATED.items()])
def test_shapes_types_and_split(name: str, shape: tuple[int, int, int]) -> None:
    samples, features, classes = shape
    dataset = load_dataset(TaskConfig(name=name), 0)
    x, y = everything(dataset)
    assert x.shape == (samples, features)
    assert len(dataset.test_y) == int(np.ceil(0.2 * samples))
    assert (dataset.train_x.dtype, dataset.test_x.dtype) == (np.float32, np.float32)
    assert (dataset.train_y.dtype, dataset.test_y.dtype) == (np.int64, np.int64)
    assert len(dataset.feature_names) == features
    assert set(y) == set(range(classes))
    assert len(dataset.target_names) == classes
    assert np.isfinite(x).all()
    assert dataset.name == name
    # Each class has the same share of both parts, as nearly as whole samples allow.
    shares = np.bincount(y) * len(dataset.test_y) / samples
    assert np.abs(np.bincount(dataset.test_y) - shares).max() < 1


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_data_are_scaled_by_the_training_part(name: str) -> None:
    dataset = load_dataset(TaskConfig(name=name), 3)
    mean, deviation = dataset.train_x.mean(axis=0, dtype=float), dataset.train_x.std(axis=0, dtype=float)
    raw = load_dataset(TaskConfig(name=name, standardize=False), 3)
    constant = np.array([len(set(column)) == 1 for column in raw.train_x.T])
    # Four pixels of the digits never vary in this training part; one of them does in the test part.
    assert constant.sum() == {"digits": 4}.get(name, 0)
    assert (np.ptp(raw.test_x[:, constant], axis=0) > 0).sum() == {"digits": 1}.get(name, 0)
    assert not dataset.train_x[:, constant].any()
    assert not dataset.test_x[:, constant].any()
    np.testing.assert_allclose(mean, 0, atol=1e-5)
    np.testing.assert_allclose(deviation[~constant], 1, atol=1e-5)
    assert np.abs(dataset.test_x.mean(axis=0)).max() > 1e-3


@pytest.mark.parametrize(("name", "loader"), [("breast-cancer", "load_breast_cancer"), ("iris", "load_iris")])
def test_raw_data_are_those_of_sklearn(name: str, loader: str) -> None:
    dataset = load_dataset(TaskConfig(name=name, standardize=False), 0)
    source = getattr(datasets, loader)()
    x, y = everything(dataset)
    ours = sorted((*row, label) for row, label in zip(x.tolist(), y.tolist(), strict=True))
    theirs = zip(source.data.astype(np.float32).tolist(), source.target.tolist(), strict=True)
    assert ours == sorted((*row, label) for row, label in theirs)
    assert dataset.target_names == tuple(source.target_names)
    assert dataset.feature_names == tuple(source.feature_names)


@pytest.mark.parametrize("name", ["iris", "parity", "hidden-xor"])
def test_the_seed_decides_everything(name: str) -> None:
    task = TaskConfig(name=name)
    first, again, other = load_dataset(task, 7), load_dataset(task, 7), load_dataset(task, 8)
    for part in ("train_x", "train_y", "test_x", "test_y"):
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256
    assert not np.array_equal(first.train_x, other.train_x)


def test_the_hash_is_of_shapes_and_values() -> None:
    dataset = load_dataset(TaskConfig(name="iris"), 0)
    digest = hashlib.sha256()
    for array, kind in (
        (dataset.train_x, "<f4"),
        (dataset.train_y, "<i8"),
        (dataset.test_x, "<f4"),
        (dataset.test_y, "<i8"),
    ):
        digest.update(f"{kind}{array.shape}".encode() + array.tobytes())
    assert dataset.sha256 == digest.hexdigest()
    for change in ({"standardize": False}, {"test_fraction": 0.3}):
        assert load_dataset(TaskConfig(name="iris", **change), 0).sha256 != dataset.sha256


def test_a_changed_cell_changes_the_hash(csv_task: Callable[..., TaskConfig]) -> None:
    rows = flowers()
    before = load_dataset(csv_task(rows), 0).sha256
    rows[5][0] = f"{float(rows[5][0]) + 1e-3:.6f}"
    assert load_dataset(csv_task(rows), 0).sha256 != before


# Generated tasks


@pytest.mark.parametrize("bits", [2, 5, 10])
def test_parity_is_the_product_of_the_bits(bits: int) -> None:
    dataset = load_dataset(TaskConfig(name="parity", bits=bits, samples=1100, standardize=False), 1)
    x, y = everything(dataset)
    assert set(np.unique(x)) == {-1.0, 1.0}
    # An odd number of +1: the product of the flipped bits is -1.
    np.testing.assert_array_equal(np.prod(-x, axis=1), 1 - 2 * y)
    seen = Counter(map(tuple, x.tolist()))
    assert set(seen) == set(itertools.product((-1.0, 1.0), repeat=bits))
    assert max(seen.values()) - min(seen.values()) <= 1


def test_hidden_xor_is_hidden_and_is_xor() -> None:
    dataset = load_dataset(TaskConfig(name="hidden-xor", samples=4000, standardize=False), 2)
    x, y = everything(dataset)
    assert set(np.unique(x)) == {-1.0, 1.0}
    informative = [dataset.feature_names.index(name) for name in ("bit_0", "bit_1")]
    np.testing.assert_array_equal(np.prod(x[:, informative], axis=1), 1 - 2 * y)
    # No feature alone tells the class: a correlation of 4000 coin tosses stays within 4.5 deviations.
    correlations = [abs(np.corrcoef(column, y)[0, 1]) for column in x.T]
    assert max(correlations) < 4.5 / np.sqrt(4000)
    assert sorted(dataset.feature_names) == sorted(["bit_0", "bit_1", *(f"noise_{n}" for n in range(18))])
    # A linear classifier stays at chance, one that sees the products of features does not.
    linear = LogisticRegression().fit(dataset.train_x, dataset.train_y)
    assert abs(linear.score(dataset.test_x, dataset.test_y) - 0.5) < 0.08
    first, second = np.triu_indices(20, 1)
    pairs = LogisticRegression().fit(dataset.train_x[:, first] * dataset.train_x[:, second], dataset.train_y)
    assert pairs.score(dataset.test_x[:, first] * dataset.test_x[:, second], dataset.test_y) == 1.0


def test_where_the_bits_hide_depends_on_the_seed_alone() -> None:
    def positions(seed: int, samples: int) -> tuple[int, int]:
        names = load_dataset(TaskConfig(name="hidden-xor", samples=samples), seed).feature_names
        return names.index("bit_0"), names.index("bit_1")

    assert positions(1, 64) == positions(1, 64)
    assert len({positions(seed, 64) for seed in range(8)}) > 4


def test_hidden_xor_without_noise_is_plain_xor() -> None:
    dataset = load_dataset(TaskConfig(name="hidden-xor", noise_features=0), 0)
    assert sorted(dataset.feature_names) == ["bit_0", "bit_1"]


# Classes too small


def test_a_class_of_one_is_named(csv_task: Callable[..., TaskConfig]) -> None:
    rows = [*flowers(), ["1", "2", "orchid"]]
    message = refusal(csv_task(rows))
    assert 'class "orchid" has 1 sample' in message
    assert message.startswith("task csv, test_fraction = 0.2: ")
    assert message.endswith("Add samples of it or remove it.")


@pytest.mark.parametrize(("fraction", "part", "change"), [(0.01, "test", "Raise"), (0.99, "training", "Lower")])
def test_a_part_smaller_than_the_classes_is_refused(fraction: float, part: str, change: str) -> None:
    assert refusal(TaskConfig(name="iris", test_fraction=fraction)) == (
        f"task iris, test_fraction = {fraction}: the {part} part has {2 if part == 'test' else 1} of 150 samples, "
        f"fewer than the 3 classes. {change} task.test_fraction or add samples."
    )


@pytest.mark.parametrize(("fraction", "part", "change"), [(0.05, "test", "Raise"), (0.95, "training", "Lower")])
def test_a_class_absent_from_a_part_is_named(
    csv_task: Callable[..., TaskConfig], fraction: float, part: str, change: str
) -> None:
    rows = [*flowers(98), ["1", "2", "orchid"], ["3", "4", "orchid"]]
    task = csv_task(rows).model_copy(update={"test_fraction": fraction})
    assert refusal(task) == (
        f'task csv, test_fraction = {fraction}: class "orchid" has 2 of 100 samples, and none of them is in the {part} '
        f"part. {change} task.test_fraction, add samples of it or remove it."
    )


# Own files


def test_a_csv_file_becomes_arrays(csv_task: Callable[..., TaskConfig]) -> None:
    rows = flowers()
    dataset = load_dataset(csv_task(rows).model_copy(update={"standardize": False}), 0)
    assert dataset.feature_names == ("length", "width")
    assert dataset.target_names == ("rose", "tulip")
    x, y = everything(dataset)
    ours = sorted((*row, dataset.target_names[label]) for row, label in zip(x.tolist(), y.tolist(), strict=True))
    assert ours == sorted((*map(float, np.float32(row[:2])), row[2]) for row in rows[1:])


def test_the_target_may_be_any_column(csv_task: Callable[..., TaskConfig]) -> None:
    rows = flowers()
    moved = [[row[2], row[0], row[1]] for row in rows]
    last, first = load_dataset(csv_task(rows), 0), load_dataset(csv_task(moved, target="kind"), 0)
    assert first.sha256 == last.sha256
    assert first.feature_names == last.feature_names


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("dialect", ["unix", "windows", "byte-order-mark", "quoted", "blank lines", "spaces"])
def test_usual_dialects_give_the_same_data(csv_task: Callable[..., TaskConfig], separator: str, dialect: str) -> None:
    rows = flowers()
    expected = load_dataset(csv_task(rows), 0)
    text = "".join(separator.join(row) + "\n" for row in rows)
    match dialect:
        case "windows":
            text = text.replace("\n", "\r\n")
        case "byte-order-mark":
            text = "\ufeff" + text
        case "quoted":
            text = "".join(separator.join(f'"{cell}"' for cell in row) + "\n" for row in rows)
        case "blank lines":
            text = "\n" + text.replace("\n", "\n\n")
        case "spaces":
            text = text.replace(separator, f" {separator}" if separator == "\t" else f" {separator} ")
    dataset = load_dataset(csv_task(text), 0)
    assert dataset.sha256 == expected.sha256
    assert (dataset.feature_names, dataset.target_names) == (expected.feature_names, expected.target_names)


def test_scaling_does_not_see_the_test_part(csv_task: Callable[..., TaskConfig]) -> None:
    rows = flowers(60)
    before = load_dataset(csv_task(rows), 0)
    raw = load_dataset(csv_task(rows).model_copy(update={"standardize": False}), 0)
    tested = {float(value) for value in raw.test_x[:, 0]}
    changed = 0
    for row in rows[1:]:
        if float(np.float32(row[0])) in tested:
            row[0] = str(1000 + float(row[0]))
            changed += 1
    assert changed == len(raw.test_x)
    after = load_dataset(csv_task(rows), 0)
    np.testing.assert_array_equal(after.train_x, before.train_x)
    np.testing.assert_array_equal(after.train_y, before.train_y)
    assert after.test_x[:, 0].min() > 100
    assert after.sha256 != before.sha256


@pytest.mark.parametrize("value", ["0", "-7.25", "1e30", "0.1"])
def test_a_constant_feature_is_harmless(csv_task: Callable[..., TaskConfig], value: str) -> None:
    rows = [[value if number else "same", *row] for number, row in enumerate(flowers())]
    dataset = load_dataset(csv_task(rows), 0)
    np.testing.assert_array_equal(dataset.train_x[:, 0], 0)
    np.testing.assert_array_equal(dataset.test_x[:, 0], 0)
    np.testing.assert_array_equal(dataset.train_x[:, 1:], load_dataset(csv_task(flowers()), 0).train_x)


def cell(line: int, column: int, value: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        rows[line - 1][column] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            cell(4, 1, "wide"),
            ', line 4, column "width": "wide" is not a number. Features must be numeric: encode or remove the column.',
        ),
        (cell(7, 0, ""), ', line 7, column "length": empty. Expected a number: fill the cell or remove the line.'),
        (cell(7, 2, " "), ', line 7, column "kind": empty. Expected a class.'),
        (cell(9, 1, "nan"), ', line 9, column "width": "nan" is not a finite float32 number.'),
        (cell(9, 1, "-inf"), ', line 9, column "width": "-inf" is not a finite float32 number.'),
        (cell(9, 1, "1e39"), ', line 9, column "width": "1e39" is not a finite float32 number.'),
        (cell(1, 1, "length"), ', line 1: two columns are named "length". Rename one of them.'),
        (cell(1, 0, ""), ", line 1: column 1 has no name. Name it or remove it."),
        (lambda rows: rows[11].append("x"), ", line 12: 4 columns, but the header line has 3."),
        (lambda rows: rows[11].pop(), ", line 12: 2 columns, but the header line has 3."),
        (lambda rows: rows.__delitem__(slice(1, None)), ": only a header line. Expected one line for each sample"),
        (cell(6, 2, '"rose'), ", line 31: not a valid CSV line: unexpected end of data."),
        (
            lambda rows: rows.__delitem__(0),
            ', column "tulip": the first line holds a class and numbers where names should be',
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_placed(
    csv_task: Callable[..., TaskConfig], change: Callable[[list[list[str]]], None], message: str
) -> None:
    rows = flowers()
    change(rows)
    task = csv_task(rows)
    assert f"{task.path}{message}" in refusal(task)


def test_a_missing_header_is_noticed(csv_task: Callable[..., TaskConfig]) -> None:
    task = csv_task([["1", "2.5", "0"], ["3", "1e2", "1"]])
    assert refusal(task) == (
        f"{task.path}, line 1: every cell is a number, so the header line seems to be missing. "
        "Expected the names of the columns."
    )


def test_a_decimal_comma_is_noticed(csv_task: Callable[..., TaskConfig]) -> None:
    rows = flowers()
    rows[2][1] = "3,14"
    assert refusal(csv_task(rows, ";")).endswith(
        'line 3, column "width": "3,14" is not a number. Write decimals with a point.'
    )


def test_an_unknown_target_gets_the_nearest_column(csv_task: Callable[..., TaskConfig]) -> None:
    task = csv_task(flowers(), target="kinds")
    assert refusal(task) == (
        f'task.target = "kinds": no such column in {task.path}. Did you mean "kind"? Columns: length, width, kind'
    )


def test_one_class_and_too_many_are_refused(csv_task: Callable[..., TaskConfig]) -> None:
    rows = flowers()
    one = csv_task([rows[0], *([*row[:2], "rose"] for row in rows[1:])])
    assert refusal(one) == f'{one.path}, column "kind": every sample is "rose". Expected at least two classes.'
    many = csv_task([rows[0], *([*row[:2], str(number // 2)] for number, row in enumerate(flowers(204)[1:]))])
    assert refusal(many) == (
        f'{many.path}, column "kind": 102 different values in 204 lines (at most 100 classes): the target looks '
        "continuous; labpgt trains classifiers. Set task.target or group the values into classes."
    )
    hundred = csv_task([rows[0], *([*row[:2], str(number // 5)] for number, row in enumerate(flowers(500)[1:]))])
    assert len(load_dataset(hundred, 0).target_names) == 100
    unique = csv_task([row[:2] for row in flowers()])
    assert "30 different values in 30 lines (at most 100 classes): the target looks continuous" in refusal(unique)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": the file is empty. Expected a header line and one line for each sample."),
        (b"\r\n \r\n", ": the file is empty. Expected a header line and one line for each sample."),
        (b"\x89HDF\r\n\x1a\n\0\0", ": not UTF-8 text (byte 0). Expected CSV, saved as UTF-8."),
        (b"length,\xb5m,kind\n", ": not UTF-8 text (byte 7). Expected CSV, saved as UTF-8."),
        (b"length,kind\n1,\0\n", ": a binary file. Expected CSV, saved as UTF-8."),
        (b"kind\nrose\n", ', line 1: only one column, "kind". Expected features and a target, separated by comma, '),
    ],
)
def test_a_file_that_is_no_table_is_refused(csv_task: Callable[..., TaskConfig], content: bytes, message: str) -> None:
    task = csv_task(content)
    assert refusal(task).startswith(f"{task.path}{message}")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    missing = tmp_path / "none.csv"
    assert refusal(TaskConfig(name="csv", path=str(missing))) == (
        f"cannot read task.path = {missing}: No such file or directory. Check the path."
    )
    assert refusal(TaskConfig(name="csv", path=str(tmp_path))) == (
        f"cannot read task.path = {tmp_path}: Is a directory. Check the path."
    )


def test_a_target_may_be_named_like_one_of_its_classes(csv_task: Callable[..., TaskConfig]) -> None:
    rows = flowers()
    rows[0][2] = rows[1][2]
    assert rows[0][2] in load_dataset(csv_task(rows), 0).target_names


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_never_ends_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, long = tmp_path / "pipe", tmp_path / "long.csv"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        assert f"task.path = {path}: not a file" in refusal(TaskConfig(name="csv", path=str(path)))
    monkeypatch.setattr(tasks, "_MOST_BYTES", 1 << 20)
    long.write_bytes(bytes((1 << 20) + 1))
    assert f"task.path = {long}: more than 1 MiB" in refusal(TaskConfig(name="csv", path=str(long)))
