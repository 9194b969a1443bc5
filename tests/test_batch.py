# SPDX-License-Identifier: Apache-2.0
"""Many images to shards: what is in them, where images and gazes come from, and what is refused."""

import io
import json
import tarfile

import foveate
import foveate.batch as batch
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_files import broken, encoded, fill, hashes, picture
from foveate.decode import decode
from foveate.error import InputError
from PIL import Image
from safetensors.numpy import load as load_bytes
from safetensors.numpy import load_file

ASKED = {"budget": 24, "model": "qwen2.5-vl", "backend": "cpu"}
FORMATS = ("webdataset", "parquet", "safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("pictures"), 11, gaze=True)


def made(folder, out, **options):
    result = batch.run(folder, out, **ASKED | options)
    return result, list(batch.read(out))


# ---- literals

def test_what_lies_in_the_folder(folder, tmp_path):
    result, _ = made(folder, tmp_path / "out", shard_size=4)
    assert (result.images, result.tokens, result.shards, result.failed) == (11, 134, 3, [])
    assert sorted(hashes(tmp_path / "out")) == [
        "00000.tar", "00001.tar", "00002.tar", "failures.jsonl", "manifest.json"]
    with tarfile.open(tmp_path / "out/00000.tar") as tar:
        names = tar.getnames()
        assert names[:4] == ["even/0000.safetensors", "even/0000.json", "even/0002.safetensors", "even/0002.json"]
        arrays = load_bytes(tar.extractfile(names[0]).read())
        about = json.load(tar.extractfile(names[1]))
    assert about == {"key": "even/0000", "width": 128, "height": 96, "tokens": 24, "valid": 20, "model": "qwen2.5-vl"}
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == {
        "patches": ("float16", (96, 1176)), "center_px": ("float32", (24, 2)), "size_px": ("float32", (24, 2)),
        "level": ("int32", (24,)), "rate": ("int32", (24,)), "fixation": ("int32", (24,)), "valid": ("bool", (24,))}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "uint8"])
def test_every_sink_gives_back_what_the_engine_made(folder, tmp_path, form, dtype):
    _, samples = made(folder, tmp_path / "out", format=form, dtype=dtype, shard_size=5, gaze="sidecar")
    files = sorted([*folder.rglob("*.jpg"), *folder.rglob("*.png"), *folder.rglob("*.webp")])
    assert [sample.key for sample in samples] == [str(f.relative_to(folder).with_suffix("")) for f in files]
    with foveate.Engine(backend="cpu") as engine:
        for sample, file in zip(samples, files, strict=True):
            gaze = json.loads(file.with_suffix(".json").read_text())["gaze"]
            plain = {"mean": (0, 0, 0), "std": (1 / 255,) * 3} if dtype == "uint8" else {}
            tokens = engine.tokens(decode(file.read_bytes()), budget=24, model="qwen2.5-vl", gaze=gaze,
                                   dtype="float32" if dtype == "uint8" else dtype, **plain)
            assert sample.dtype == dtype and sample.about["gaze"] == [gaze]
            if dtype == "bfloat16":
                assert (sample.torch()["patches"] == tokens.torch()).all()
            elif dtype == "uint8":
                assert sample.arrays["patches"].dtype == np.uint8
                assert np.abs(sample.arrays["patches"] - tokens.numpy()).max() <= 0.5
            else:
                assert np.array_equal(sample.arrays["patches"], tokens.numpy())
            for name in ("center_px", "size_px", "level", "rate", "fixation", "valid"):
                assert np.array_equal(sample.arrays[name], getattr(tokens, name)[0]), name


def test_others_read_the_files(folder, tmp_path):
    made(folder, tmp_path / "one", format="safetensors", shard_size=64)
    arrays = load_file(tmp_path / "one/00000.safetensors")
    assert arrays["patches"].shape == (11, 96, 1176) and arrays["valid"].shape == (11, 24)
    made(folder, tmp_path / "two", format="parquet", shard_size=64)
    table = pq.read_table(tmp_path / "two/00000.parquet")
    assert isinstance(table.schema.field("patches").type, pa.FixedShapeTensorType)
    assert np.array_equal(table["patches"].combine_chunks().to_numpy_ndarray(), arrays["patches"])


def test_as_a_torch_dataset(folder, tmp_path):
    from torch.utils.data import DataLoader

    made(folder, tmp_path / "out", shard_size=2, dtype="bfloat16")
    straight = dict(batch.torch_dataset(tmp_path / "out"))
    loaded = dict(DataLoader(batch.torch_dataset(tmp_path / "out", shuffle=True), batch_size=None, num_workers=2))
    assert list(straight) != list(loaded) and straight.keys() == loaded.keys() and len(loaded) == 11
    assert all((straight[key]["patches"] == loaded[key]["patches"]).all() for key in loaded)


# ---- facts

@pytest.mark.parametrize("workers", [1, 3])
def test_bytes_do_not_depend_on_how_it_ran(folder, tmp_path, workers):
    for form in FORMATS:
        batch.run(folder, tmp_path / form, format=form, shard_size=4, workers=2, **ASKED)
        batch.run(folder, tmp_path / f"{form}{workers}", format=form, shard_size=4, workers=workers, **ASKED)
        assert hashes(tmp_path / form) == hashes(tmp_path / f"{form}{workers}")


def test_an_image_does_not_see_its_neighbours(folder, tmp_path):
    whole = {sample.key: sample for sample in made(folder, tmp_path / "all", gaze="0.2,0.7")[1]}
    for number, file in enumerate(sorted(folder.rglob("*.png"))):
        alone = made([file], tmp_path / str(number), gaze=(0.2, 0.7))[1][0]
        key = f"{file.parent.name}/{alone.key}"
        assert np.array_equal(alone.arrays["patches"], whole[key].arrays["patches"])


def test_a_part_of_the_size_is_enough_for_a_grid(tmp_path):
    values = np.asarray(Image.fromarray(picture(0)).resize((1200, 900), Image.Resampling.BICUBIC))
    Image.fromarray(values).save(tmp_path / "a.jpg", quality=95)
    fast = made([tmp_path / "a.jpg"], tmp_path / "fast", layout="grid", budget=60, dtype="float32")[1][0]
    full = made([tmp_path / "a.jpg"], tmp_path / "full", layout="grid", budget=60, dtype="float32", scale=False)[1][0]
    assert fast.about["decoded_at"] == "1/2" and "decoded_at" not in full.about
    assert all(np.array_equal(fast.arrays[name], full.arrays[name]) for name in fast.arrays if name != "patches")
    assert np.abs(fast.arrays["patches"] - full.arrays["patches"]).mean() < 0.02    # of a deviation of about 1
    # no more than is needed, and never for tokens that follow the contents
    small = made([tmp_path / "a.jpg"], tmp_path / "small", layout="grid", budget=1300)[1][0]
    rated = made([tmp_path / "a.jpg"], tmp_path / "rated", budget=60)[1][0]
    assert "decoded_at" not in small.about and "decoded_at" not in rated.about


# ---- sources

def tar_of(path, count, sidecar=True):
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            members = [(f"{number:03d}.jpg", encoded(number, "JPEG"))]
            if sidecar:
                members.append((f"{number:03d}.json", json.dumps({"gaze": [0.1 * number, 0.5]}).encode()))
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def test_every_source_gives_the_same(tmp_path, monkeypatch):
    (tmp_path / "files").mkdir()
    for number in range(5):
        (tmp_path / f"files/{number:03d}.jpg").write_bytes(encoded(number, "JPEG"))
        (tmp_path / f"files/{number:03d}.json").write_text(json.dumps({"gaze": [0.1 * number, 0.5]}))
    tar_of(tmp_path / "five.tar", 5)
    (tmp_path / "list.txt").write_text("".join(f"files/{number:03d}.jpg\n" for number in range(5)))
    columns = {"image": [{"bytes": encoded(number, "JPEG"), "path": "x"} for number in range(5)],
               "id": [f"{number:03d}" for number in range(5)], "look": [[0.1 * number, 0.5] for number in range(5)],
               "x": [0.1 * number for number in range(5)], "y": [0.5] * 5}
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "five.parquet", row_group_size=2)
    with pa.ipc.new_file(tmp_path / "five.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=2)
    keys = [f"files/{name}" for name in columns["id"]]
    pq.write_table(pa.table({"key": keys, "gaze": columns["look"]}), tmp_path / "gaze.parquet")
    rows = Rows(columns)
    monkeypatch.chdir(tmp_path)
    sources = {"folder": (tmp_path / "files", "sidecar"), "glob": ("files/*.jpg", "sidecar"),
               "list": ("list.txt", "gaze.parquet"), "tar": ("five.tar", "sidecar"),
               "table": ("five.parquet", "column:look"), "arrow": ("five.arrow", "column:x,y"),
               "rows": (rows, "column:look"), "paths": (sorted((tmp_path / "files").glob("*.jpg")), "sidecar")}
    found = {}
    for name, (source, gaze) in sources.items():
        key = "id" if name in ("table", "arrow", "rows") else None
        _, samples = made(source, tmp_path / "out" / name, gaze=gaze, key=key)
        found[name] = [(s.key.removeprefix("files/"), s.about["gaze"], s.arrays["patches"].tobytes()) for s in samples]
    assert len(found["folder"]) == 5
    for name in sources:
        assert found[name] == found["folder"], name


class Rows:
    """What a Hugging Face dataset looks like from here."""

    def __init__(self, columns):
        self.columns, self.column_names = columns, list(columns)

    def __len__(self):
        return len(self.columns["image"])

    def __getitem__(self, at):
        return self.columns[at] if isinstance(at, str) else {name: column[at] for name, column in self.columns.items()}


def test_keys_are_what_webdataset_takes(tmp_path):
    for name in ("a.b.png", "a_b.png", "a.jpg", "a.png", "é.png"):
        (tmp_path / name).write_bytes(encoded(1))
    keys = [sample.key for sample in made(tmp_path, tmp_path / "out")[1]]
    assert sorted(keys) == ["a", "a-2", "a_b", "a_b-2", "é"]


def test_a_gaze_that_was_not_seen_is_none(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(0))
    (tmp_path / "a.json").write_text('{"gaze": [[NaN, NaN], [0.5, 0.5]]}')
    (tmp_path / "b.png").write_bytes(encoded(1))
    samples = made(tmp_path, tmp_path / "out", gaze="sidecar")[1]
    assert samples[0].about["gaze"] == [[0.5, 0.5]] and "gaze" not in samples[1].about


# ---- failures

def test_a_broken_image_costs_itself_alone(folder, tmp_path):
    _, wanted = made(folder, tmp_path / "good", shard_size=4)
    hurt = fill(tmp_path / "hurt", 11)
    for kind in ("empty", "format", "header", "truncated", "corrupt"):
        (hurt / "even" / f"x{kind}.jpg").write_bytes(broken(kind))
    (hurt / "odd/gone.jpg").symlink_to("nowhere")
    result, samples = made(hurt, tmp_path / "out", shard_size=4)
    codes = {entry["key"].rpartition("/")[2]: entry["code"] for entry in result.failed}
    kinds = ("empty", "format", "header", "truncated", "corrupt")
    assert codes == {f"x{kind}": kind for kind in kinds} | {"gone": "read"}
    assert result.images == 11
    for sample, other in zip(samples, wanted, strict=True):
        assert sample.key == other.key and np.array_equal(sample.arrays["patches"], other.arrays["patches"])
    lines = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.failed and str(tmp_path) not in lines[-1]


def test_a_gaze_outside_is_a_failure_of_its_image(tmp_path):
    for name, gaze in (("a", "[0.5, 0.5]"), ("b", "[1.5, 0.5]"), ("c", '"here"'), ("d", "{")):
        (tmp_path / f"{name}.png").write_bytes(encoded(0))
        (tmp_path / f"{name}.json").write_text(f'{{"gaze": {gaze}}}')
    result, samples = made(tmp_path, tmp_path / "out", gaze="sidecar")
    assert [sample.key for sample in samples] == ["a"]
    assert {entry["key"]: entry["code"] for entry in result.failed} == {"b": "engine", "c": "engine", "d": "read"}


@pytest.mark.parametrize("form", FORMATS)
def test_a_shard_of_failures_alone(tmp_path, form):
    (tmp_path / "a.png").write_bytes(b"no")
    result, samples = made(tmp_path, tmp_path / "out", format=form)
    assert (result.images, result.shards, samples, len(result.failed)) == (0, 1, [], 1)


def test_the_run_ends_where_it_was_told_to(tmp_path):
    hurt = fill(tmp_path / "hurt", 9)
    for number in range(3):
        (hurt / f"even/0002-{number}.jpg").write_bytes(broken("truncated", 3 * number))
    with pytest.raises(batch.StoppedError, match=r"batch: image: got even/0002-0 .*expected no failure"):
        batch.run(hurt, tmp_path / "one", on_error="fail", **ASKED)
    with pytest.raises(batch.StoppedError, match="batch: failures: got 3, expected at most 2"):
        batch.run(hurt, tmp_path / "two", max_failures=2, **ASKED)
    result = batch.run(hurt, tmp_path / "two", max_failures=3, resume=True, **ASKED)
    assert (result.images, len(result.failed)) == (9, 3)


@pytest.mark.parametrize(("change", "text"), [
    ({"dtype": "int8"}, "batch: dtype: got 'int8', expected one of 'float16', 'bfloat16', 'float32', 'uint8'"),
    ({"format": "zip"}, "batch: format: got 'zip', expected one of 'webdataset', 'parquet', 'safetensors'"),
    ({"shard_size": 0}, "batch: shard_size: got 0, expected 1.."),
    ({"workers": 0}, "batch: workers: got 0, expected 1..256"),
    ({"max_failures": -1}, "batch: max_failures: got -1, expected 0.."),
    ({"on_error": "stop"}, "batch: on_error: got 'stop'"),
    ({"distributor": "spark"}, "batch: distributor: got 'spark'"),
    ({"channels": "last"}, "batch: options: got channels, expected options of Engine.tokens for one image"),
    ({"dtype": "uint8", "mean": 0}, "batch: dtype: got uint8 with mean or std, expected uint8 alone"),
    ({"query": float("nan")}, "batch: options: got .*, expected numbers, names and lists of them"),
    ({"gaze": "here"}, "batch: gaze: got 'here', expected x,y"), ({"gaze": object()}, "batch: gaze: got object"),
    ({"gaze": "column:a,b,c"}, "batch: gaze: got column:a,b,c"),
    ({"gaze": (0.1, 0.2, 0.3)}, "batch: gaze of gaze: got .*, expected x, y or pairs"),
])
def test_options_outside(folder, tmp_path, change, text):
    with pytest.raises(InputError, match=text):
        batch.run(folder, tmp_path / "out", **ASKED | change)
    assert not (tmp_path / "out/00000.tar").exists()


def test_sources_outside(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.png").write_bytes(encoded(0))
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    (tmp_path / "c.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    pq.write_table(pa.table({"pixels": [b""], "n": [1]}), tmp_path / "d.parquet")
    for source, text in ((tmp_path / "none", "batch: source: got .*none, expected a folder"), ([], "got an empty list"),
                         (tmp_path / "empty", "batch: source: got no file"),
                         (str(tmp_path / "*.bmp"), "got no file"),
                         ([tmp_path / "a.png", tmp_path / "b.gif"], "got files ending in '.gif'"),
                         (tmp_path / "c.tar", "expected a tar without compression"),
                         (tmp_path / "d.parquet", "batch: column: got 'image', expected one of 'pixels', 'n'"),
                         (Rows({"pixels": [b""]}), "batch: column: got 'image', expected one of 'pixels'")):
        with pytest.raises(InputError, match=text):
            batch.run(source, tmp_path / "out", **ASKED)
    pq.write_table(pa.table({"image": [3]}), tmp_path / "d.parquet")
    result = batch.run(tmp_path / "d.parquet", tmp_path / "out", **ASKED)
    assert result.failed[0]["error"] == "batch: column: got a int, expected the bytes of an image file."
    pq.write_table(pa.table({"key": ["a"], "look": [1]}), tmp_path / "g.parquet")
    with pytest.raises(InputError, match="batch: gaze table: got columns key, look, expected key, and gaze"):
        batch.run(tmp_path / "a.png", tmp_path / "new", gaze=str(tmp_path / "g.parquet"), **ASKED)


def test_reading_what_is_not_there(folder, tmp_path):
    with pytest.raises(InputError, match="where no run has been, expected the folder of a finished run"):
        next(batch.read(tmp_path))
    (tmp_path / "x.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nothing!")
    with pytest.raises(InputError, match="batch: read: got a shard that cannot be read"):
        list(batch.read(tmp_path / "x.safetensors"))


def test_without_pyarrow(folder, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert batch.run(folder, tmp_path / "out", **ASKED).images == 11
    with pytest.raises(foveate.error.UnsupportedError, match="batch: Parquet: got no pyarrow, expected it installed"):
        batch.run(folder, tmp_path / "two", format="parquet", **ASKED)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    import subprocess
    import sys

    Image.fromarray(np.zeros((2000, 2400, 3), np.uint8)).save(tmp_path / "a.jpg")
    code = ("import resource, sys, foveate.batch as b\n"
            "peaks = []\n"
            "for count in (30, 90):\n"
            "    b.run([sys.argv[1]] * count, sys.argv[2] + str(count), budget=64, shard_size=16, backend='cpu')\n"
            "    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
            "print(peaks[1] - peaks[0])")
    grown = subprocess.run([sys.executable, "-c", code, tmp_path / "a.jpg", tmp_path / "out"], capture_output=True,
                           check=True).stdout
    assert int(grown) < 160 << 10, "KiB, of 824 MiB more that were decoded"


def test_without_xxhash(folder, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "xxhash", None)
    with pytest.raises(foveate.error.UnsupportedError, match="batch: digest: got no xxhash, expected it installed"):
        batch.run(folder, tmp_path / "out", **ASKED)
