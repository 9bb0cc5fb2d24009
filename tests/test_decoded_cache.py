"""The cache of decoded pictures: nothing is read twice, nothing wrong is used, and a training on it is the same."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data
from data import DataError, Loader, Reading, Split, cache, cache_entry, decoding, holdout, pictures, rows
from data.datasets import folder
from data.holdout import Plan, digests, held_out
from data.workers import Workers
from experiment.runs import checkpoint
from tests.image_files import picture, write_pictures
from tests.test_commands import FRAMEWORKS

SHAPE = (8, 8, 3)


@pytest.fixture
def flowers(tmp_path) -> Path:
    root = write_pictures(tmp_path / "flowers", {"rose": 14, "tulip": 16})
    time.sleep(0.02)  # the files' times are then older than their first reading
    return root


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The pictures that are decoded, one after the other."""
    calls: list[Path] = []

    def counting(path: Path, *args):
        calls.append(path)
        return pictures.decode(path, *args)

    monkeypatch.setattr(folder, "decode", counting)
    return calls


def load(root: Path, **options) -> data.Dataset:
    return data.load(str(root), None, options.pop("shape", SHAPE), Reading(**options))


def everything(dataset: data.Dataset) -> list[bytes]:
    return [part.tobytes() for part in (*dataset.train, *dataset.test, dataset.mean, dataset.std)]


def rows_file(cache_dir: Path) -> Path:
    (found,) = cache_dir.glob("*/*.rows")
    return found


def test_the_second_start_reads_no_picture_and_has_the_same_values(flowers, tmp_path, decoded, monkeypatch):
    plain = load(flowers)
    decoded.clear()
    first = load(flowers, cache_dir=tmp_path / "cache")
    assert len(decoded) == 30
    assert "30 files are decoded into" in first.notes[0]
    monkeypatch.setattr(decoding, "read_file", None)
    monkeypatch.setattr(cache, "read_file", None)
    second = load(flowers, cache_dir=tmp_path / "cache")
    assert len(decoded) == 30
    assert second.notes == ()
    assert everything(plain) == everything(first) == everything(second)
    assert rows.is_mapped(second.train.inputs)


def test_only_what_has_changed_is_decoded(flowers, tmp_path, decoded):
    where = tmp_path / "cache"
    load(flowers, cache_dir=where)
    changed, times = flowers / "rose/0.png", (flowers / "rose/0.png").stat()
    before = changed.read_bytes()
    for seed in range(99):  # in place, of the same size, and its time is set back
        Image.fromarray(picture(seed, 20, 20)).save(changed)
        made = changed.read_bytes()[: len(before)].ljust(len(before), b"\0")
        if made != before:
            changed.write_bytes(made)
            break
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert changed.stat().st_size == times.st_size
    (flowers / "rose/1.jpg").rename(flowers / "tulip/other-name.jpg")
    (flowers / "rose/2.JPEG").unlink()
    shutil.copy(flowers / "rose/4.png", flowers / "tulip/twin.png")
    (flowers / "tulip/3.PNG").touch()
    time.sleep(0.02)
    decoded.clear()
    found = load(flowers, cache_dir=where)
    assert set(decoded) == {changed}
    assert everything(found) == everything(load(flowers))
    decoded.clear()
    assert everything(load(flowers, cache_dir=where)) == everything(found)
    assert decoded == []
    assert len(list(where.glob("*/*.rows"))) == 1


def test_other_sizes_and_other_rules_have_caches_of_their_own(flowers, tmp_path):
    ramp = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    for at in range(4):
        Image.fromarray(np.maximum(ramp, at) - np.uint16(at)).save(flowers / "rose" / f"dark{at}.png")
    where = tmp_path / "cache"
    options = [{}, {"shape": (6, 9, 3)}, {"depth": 16}, {"first_rules": True}]
    for each in options * 2:
        assert everything(load(flowers, cache_dir=where, **each)) == everything(load(flowers, **each))
    bright = flowers / "tulip" / "bright.png"
    Image.fromarray(ramp * 16).save(bright)  # 16 bits, so that the dark ones are read otherwise
    for _ in range(2):
        found = load(flowers, cache_dir=where)
        assert (everything(found), found.depth) == (everything(load(flowers)), 16)
    bright.unlink()
    assert (load(flowers, cache_dir=where).depth, load(flowers, cache_dir=where).depth) == (12, 12)
    assert everything(load(flowers, cache_dir=where)) == everything(load(flowers))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


DAMAGES = {
    "flipped examples": lambda rows: flip(rows, 1000),
    "truncated examples": lambda rows: os.truncate(rows, 1000),
    "longer examples": lambda rows: rows.write_bytes(rows.read_bytes() + b"x"),
    "no examples": lambda rows: rows.unlink(),
    "empty examples": lambda rows: os.truncate(rows, 0),
    "flipped index": lambda rows: flip(rows.with_name("index"), 3000),
    "truncated index": lambda rows: os.truncate(rows.with_name("index"), 3000),
    "empty index": lambda rows: os.truncate(rows.with_name("index"), 0),
    "flipped statistics": lambda rows: flip(rows.with_suffix(".values"), -30),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_again(damage, flowers, tmp_path):
    expected = everything(load(flowers, cache_dir=tmp_path))
    DAMAGES[damage](rows_file(tmp_path))
    found = load(flowers, cache_dir=tmp_path)
    assert everything(found) == expected
    assert damage == "flipped statistics" or "damaged" in found.notes[0]
    assert load(flowers, cache_dir=tmp_path).notes == ()


def test_an_older_version_of_the_cache_is_replaced(flowers, tmp_path, monkeypatch):
    for module, name in ((cache_entry, "FORMAT"), (folder, "VERSION")):
        monkeypatch.setattr(module, name, 0)
        load(flowers, cache_dir=tmp_path)
        monkeypatch.undo()
        assert "of another version" in load(flowers, cache_dir=tmp_path).notes[0]
        assert load(flowers, cache_dir=tmp_path).notes == ()
        assert len(list(tmp_path.glob("*/*.rows"))) == 1


def test_a_large_cache_is_checked_as_it_is_read(flowers, tmp_path, monkeypatch):
    expected = everything(load(flowers, cache_dir=tmp_path))
    monkeypatch.setattr(cache, "CHECKED", 0)
    flip(rows_file(tmp_path), 1000)
    found = load(flowers, cache_dir=tmp_path)
    both = Split(rows.concatenate([found.train.inputs, found.test.inputs]), np.zeros(30, np.int32))
    loader = Loader(both, found.mean, found.std, 4)
    with pytest.raises(DataError, match=r"decoded example 5 is damaged on the disk; .* made again") as error:
        list(loader.epoch())
    assert "\n" not in str(error.value)
    assert everything(load(flowers, cache_dir=tmp_path)) == expected


def test_pages_of_a_large_file_are_given_back(flowers, tmp_path, monkeypatch):
    found = load(flowers, cache_dir=tmp_path)
    monkeypatch.setattr(rows, "RESIDENT", 1)
    assert [one.tobytes() for one in found.train.inputs] == [one.tobytes() for one in load(flowers).train.inputs]


def test_two_that_start_at_once_decode_once(flowers, tmp_path, decoded):
    found: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: found.append(everything(load(flowers, cache_dir=tmp_path)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decoded) == 30
    assert found == [everything(load(flowers))] * 3


def test_what_a_killed_process_has_left_is_removed(flowers, tmp_path):
    kill = "import os, signal, data.cache_entry as e; e.write_entry = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    program = f"""
import data, pathlib, data.cache
{kill}
data.cache.write_entry = e.write_entry
data.load({str(flowers)!r}, None, {SHAPE}, data.Reading(cache_dir=pathlib.Path({str(tmp_path / "cache")!r})))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    left = rows_file(tmp_path / "cache")
    (left.parent / "0123456789abcdef.rows.part").write_bytes(b"half")
    assert everything(load(flowers, cache_dir=tmp_path / "cache")) == everything(load(flowers))
    assert not left.exists()
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_picture_that_changes_while_it_is_read_is_not_used(flowers, tmp_path, monkeypatch):
    changing, real = flowers / "rose/0.png", decoding.times_of
    monkeypatch.setattr(decoding, "times_of", lambda found: (real(found)[0], time.monotonic_ns(), 0))
    with pytest.raises(DataError, match=r"30 of 30 files cannot be used: .*it changed meanwhile, 3 times"):
        load(flowers, cache_dir=tmp_path / "cache")
    monkeypatch.undo()
    path = decoding.read_file(changing)
    assert path.content == changing.read_bytes()


def test_a_disk_that_refuses_is_named_and_memory_is_used(flowers, tmp_path, capsys, monkeypatch):
    expected = everything(load(flowers))
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 0, 10))  # type: ignore[attr-defined]
    for where, why in ((tmp_path / "file", "Not a directory"), (tmp_path / "c", "5.62 KiB are needed, 10 bytes are")):
        assert everything(load(flowers, cache_dir=where)) == expected
        err = capsys.readouterr().err
        assert err.startswith(f"warning: {where} cannot hold the decoded files ({why}")
        assert "into memory, at every start; --cache-dir names another folder" in err
        assert err.count("\n") == 1
    monkeypatch.setattr(cache, "_free_memory", lambda: 1000)
    with pytest.raises(
        DataError, match=r"30 files take 5\.62 KiB, more than the free memory \(0\.977 KiB\); .*--cache-dir"
    ):
        load(flowers, cache_dir=tmp_path / "c")


def test_a_cache_that_is_read_only_is_used(flowers, tmp_path, decoded, monkeypatch):
    load(flowers, cache_dir=tmp_path / "cache")

    def refuse(*_: object) -> None:
        raise OSError(30, os.strerror(30))

    decoded.clear()
    for module, name in ((rows, "write_checked"), (cache_entry, "write_checked"), (cache.os, "utime")):
        monkeypatch.setattr(module, name, refuse)
    assert everything(load(flowers, cache_dir=tmp_path / "cache")) == everything(load(flowers))
    (flowers / "rose/0.png").touch()  # it is read again at each start, but not decoded
    assert len(decoded) == 30
    load(flowers, cache_dir=tmp_path / "cache")
    assert len(decoded) == 30


def test_small_folders_leave_nothing_in_the_default_folder(flowers, tmp_path, monkeypatch):
    for name, place in (("XDG_CACHE_HOME", "home/jaxnets/decoded"), ("JAXNETS_CACHE", "home")):
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv(name, str(tmp_path / "home"))
        assert cache.cache_folder() == tmp_path / place
    monkeypatch.delenv("JAXNETS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert load(flowers).notes == ()
    assert not (tmp_path / "home").exists()
    monkeypatch.setattr(cache, "SMALL", 100)
    load(flowers)
    assert len(list((tmp_path / "home/jaxnets/decoded").iterdir())) == 1


def test_the_cache_is_listed_and_cleared_and_other_files_are_kept(flowers, tmp_path, capsys, monkeypatch):
    from data.__main__ import main

    def run(*argv: str) -> str:
        monkeypatch.setattr("sys.argv", ["data", "cache", "--cache-dir", str(tmp_path / "cache"), *argv])
        with pytest.raises(SystemExit) as stop:
            main()
        return f"{stop.value.code} {capsys.readouterr().out}"

    assert run().startswith("0 0 decoded folders in")
    load(flowers, cache_dir=tmp_path / "cache")
    (tmp_path / "cache" / "notes").mkdir()
    (tmp_path / "cache" / "notes" / "mine.txt").write_text("mine")
    (rows_file(tmp_path / "cache").parent / "mine.txt").write_text("mine")
    listed = run()
    assert f"30 pictures 8x8x3 of {flowers}\n1 decoded folder in" in listed
    with cache_entry.locked(rows_file(tmp_path / "cache").parent):
        assert "not removed, a process is decoding into it" in run("--clear")
    assert run("--clear").startswith("0 1 decoded folder removed, ")
    assert {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()} == {"mine.txt"}
    assert run("--clear").startswith("0 0 decoded folders removed")


def test_parts_are_an_index_and_say_what_arrays_say(monkeypatch):
    monkeypatch.setattr(rows, "LARGE", 0)
    rng = np.random.default_rng(0)
    inputs, labels = rng.integers(0, 256, (90, 5, 5, 3), np.uint8), (np.arange(90) % 3).astype(np.int32)
    inputs[40:50] = inputs[:10]
    train, held = holdout.hold_out(Split(inputs, labels))
    assert np.shares_memory(train.inputs.base, inputs)
    expected = held_out(Split(inputs, labels), Plan())
    for part, index in zip((train, held), expected, strict=True):
        array = inputs[index]
        assert digests(part.inputs) == digests(array)
        assert (part.inputs[[1, 4]] == array[[1, 4]]).all()
        assert (part.inputs[3] == array[3]).all()
        assert (part.inputs[-2:, 1] == array[-2:, 1]).all()
        assert (part.inputs[..., 0] == array[..., 0]).all()
        assert (part.inputs.nbytes, part.inputs.tobytes()) == (array.nbytes, array.tobytes())
        made = data.make_dataset(part, part, "abc")
        for one in ("mean", "std"):
            whole = data.make_dataset(Split(array, part.labels), Split(array, part.labels), "abc")
            assert getattr(made, one).tobytes() == getattr(whole, one).tobytes()
    again = rows.concatenate([held.inputs, train.inputs])
    assert (np.asarray(again) == inputs[np.concatenate(expected[::-1])]).all()


def test_worker_processes_map_the_cache_themselves(flowers, tmp_path):
    batches = []
    for options in ({}, {"cache_dir": tmp_path}):
        found = load(flowers, **options)
        loader = Loader(found.train, found.mean, found.std, 4, 0, augment=("flip",))
        with Workers(loader, 1) as workers:
            batches.append([batch.inputs.tobytes() for batch in workers.epoch(1)])
        assert batches[-1] == [batch.inputs.tobytes() for batch in loader.epoch(1)]
    assert batches[0] == batches[1]


def weights(run: Path) -> dict[str, bytes]:
    found = checkpoint.load(run / "checkpoints/last")
    return {name: array.tobytes() for name, array in found.weights().items()}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_training_on_the_cache_is_bit_for_bit_that_on_arrays(framework, flowers, run_main, tmp_path, decoded):
    options = ("--model", "mlp", "--dataset", flowers, "--epochs", 2, "--batch-size", 8, "--augment", "crop")
    for name, more in (("memory", ()), ("mapped", ("--cache-dir", "c"))):
        code, out, err = run_main(f"{framework}.train", *options, *more, "--out", name)
        assert (code, err) == (0, "")
        assert ("30 files are decoded into c" in out) == (name == "mapped")
    assert len(decoded) == 60
    assert weights(Path("memory")) == weights(Path("mapped"))
    assert (tmp_path / "memory/metrics.jsonl").read_text() == (tmp_path / "mapped/metrics.jsonl").read_text()
    shutil.copytree("mapped", "again", symlinks=True)
    steps = sorted(Path("again/checkpoints").glob("step-*"))
    shutil.rmtree(steps[-1])
    Path("again/summary.json").unlink()
    assert "goes on from" in run_main(f"{framework}.train", "--resume", "again")[1]
    assert weights(Path("again")) == weights(Path("memory"))
    assert run_main(f"{framework}.evaluate", "mapped")[0] == 0
    assert len(decoded) == 60  # the run knows its cache


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    "more", [("--data-on", "device"), ("--workers", 1), ("--augment-on", "device"), ("--mixup", 0.2)]
)
def test_every_way_to_the_device_is_the_same_on_the_cache(framework, more, flowers, run_main):
    options = ("--model", "simple_cnn", "--dataset", flowers, "--epochs", 1, "--batch-size", 8, "--augment", "crop")
    for name, where in (("memory", ()), ("mapped", ("--cache-dir", "c"))):
        assert run_main(f"{framework}.train", *options, *more, *where, "--out", name)[::2] == (0, "")
    assert weights(Path("memory")) == weights(Path("mapped"))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_bad_files_are_named_all_at_once_or_left_out(framework, flowers, run_main):
    options = ("--model", "mlp", "--dataset", flowers, "--epochs", 1, "--batch-size", 8)
    plain = flowers.parent / "plain"
    shutil.copytree(flowers, plain)
    (flowers / "rose/0.png").write_bytes(b"not a picture")
    line = f"error: {flowers}/rose/0.png: expected a PNG or JPEG picture, found something else"
    code, _, err = run_main(f"{framework}.train", *options, "--dry-run")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(line)
    assert "; --on-bad-file skip leaves it out" in err
    for at in range(4, 14):
        path = next(flowers.glob(f"rose/{at}.*"))
        path.write_bytes(path.read_bytes()[:-200])
    for _ in range(2):
        code, _, err = run_main(f"{framework}.train", *options, "--cache-dir", "c", "--dry-run")
        assert (code, err.count("\n"), err.count("cannot be read (")) == (1, 1, 4)
        assert err.startswith("error: 11 of 30 files cannot be used: ")
        assert "and 6 more (c/bad-files-" in err
        (listed,) = Path("c").glob("bad-files-*.txt")
        assert len(listed.read_text().splitlines()) == 11
    for name in next(Path("c").glob("bad-files-*.txt")).read_text().splitlines():
        (plain / Path(name.split(": ")[0]).relative_to(flowers)).unlink()
    code, out, err = run_main(
        f"{framework}.train", *options, "--cache-dir", "c", "--on-bad-file", "skip", "--out", "run"
    )
    assert (code, err) == (0, "")
    assert out.count("warning: 11 of 30 files cannot be used and are left out: ") == 1
    found, expected = load(flowers, on_bad_file="skip", cache_dir=Path("c")), load(plain)
    assert everything(found) == everything(expected)
    assert "11 of 30 files" in run_main(f"{framework}.evaluate", "run")[1]
    code, out, err = run_main(f"{framework}.predict", "run", *sorted(flowers.glob("rose/*"))[:6], "gone.png")
    good = [path for path in sorted(flowers.glob("rose/*"))[:6] if (plain / path.relative_to(flowers)).exists()]
    assert code == 1
    assert [text.split()[0] for text in out.splitlines()] == list(map(str, good))
    assert err.count("error: ") == 7 - len(good)
    assert "error: gone.png: cannot be read (No such file or directory)\n" in err
    for path in flowers.glob("rose/*"):
        path.write_bytes(b"")
    code, _, err = run_main(f"{framework}.train", *options, "--on-bad-file", "skip")
    assert (code, err) == (1, f"error: {flowers}: no picture that can be read is left of rose\n")
    assert run_main(f"{framework}.predict", "run", *flowers.glob("rose/*"))[:2] == (1, "")


def test_a_file_that_can_be_read_again_is_used(flowers, tmp_path, decoded):
    bad, content = flowers / "rose/0.png", (flowers / "rose/0.png").read_bytes()
    bad.write_bytes(b"broken")
    time.sleep(0.02)
    options = {"on_bad_file": "skip", "cache_dir": tmp_path / "cache"}
    load(flowers, **options)
    decoded.clear()
    assert len(load(flowers, **options).warnings) == 1
    assert decoded == [bad]  # what was bad is tried again
    bad.write_bytes(content)
    assert load(flowers, **options).warnings == ()
    assert everything(load(flowers, **options)) == everything(load(flowers))
