"""Converting files of weights, and every kind of file that must be refused."""

import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from experiment.runs import atomic
from experiment.weights.files import read
from parity import suite
from parity.copy import as_array, flatten, to_flax
from tests.quick import FAMILIES, slow_unless
from tests.test_commands import FRAMEWORKS
from tests.weight_files import Evil, EvilSystem, ann, any_bits, saved, shrink

ADVICE = "save the tensors alone: torch.save(model.state_dict(), FILE)"


def assert_same_bits(ours, theirs):
    assert list(ours) == list(theirs)
    for key, tensor in theirs.items():
        assert (ours[key].dtype, ours[key].shape) == (tensor.dtype, tensor.shape), key
        assert as_array(ours[key]).tobytes() == as_array(tensor).tobytes(), key


# --- converting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "num_classes"),
    slow_unless(
        # GoogLeNet goes both ways in test_copy, in less time.
        lambda name, classes: name in FAMILIES and name != "googlenet" and (classes == 10 or name == "ann"),
        [(name, classes) for name in suite.names() for classes in (10, 3)],
    ),
)
def test_a_network_goes_to_flax_and_back_bit_by_bit(name, num_classes, convert, monkeypatch):
    shrink(monkeypatch, name)
    state = any_bits(name, num_classes)
    torch.save(state, "net.pth")
    safetensors.torch.save_file(state, "net.safetensors")
    for source in ("net.pth", "net.safetensors"):
        target = Path(f"{source}.flax.safetensors")
        code, out, err = convert(name, source, target)
        assert (code, err) == (0, "")
        assert out.count("\n") == 1
        assert out.startswith(f"{name}, {num_classes} classes (")
        assert f" {len(state)} tensors, " in out
        assert out.endswith(f" parameters: PyTorch {source} -> Flax {target}\n")
        expected = flatten(to_flax(state))
        for path, array in safetensors.numpy.load_file(target).items():
            assert array.tobytes() == expected[path].astype(array.dtype).tobytes(), path
            assert array.dtype.name == ("int32" if path.endswith("tracked") else "float32")
    assert Path("net.pth.flax.safetensors").read_bytes() == Path("net.safetensors.flax.safetensors").read_bytes()
    for back in ("back.pth", "back.pt", "back.safetensors"):
        code, out, err = convert(name, target, back)
        assert (code, err) == (0, "")
        assert out.endswith(f" parameters: Flax {target} -> PyTorch {back}\n")
    assert_same_bits(torch.load("back.pth", weights_only=True), state)
    assert Path("back.safetensors").read_bytes() == Path("net.safetensors").read_bytes()
    assert convert(name, "back.safetensors", "again.safetensors")[0] == 0
    assert Path("again.safetensors").read_bytes() == target.read_bytes()


def test_what_was_converted_is_said_in_one_line(convert):
    torch.save(ann(7), "ann.pth")
    what = "ann, 7 classes ({}), 16 tensors, 109,575 parameters: {}\n"
    line = what.format("fc3.bias is (7,)", "PyTorch ann.pth -> Flax ann.safetensors")
    assert convert("ann", "ann.pth", "ann.safetensors") == (0, line, "")
    line = what.format("--num-classes", "Flax ann.safetensors -> PyTorch back.pth")
    assert convert("ann", "ann.safetensors", "back.pth", "--num-classes", 7) == (0, line, "")


def test_counters_that_old_files_lack_start_at_0_and_that_is_said(convert):
    state = {key: tensor for key, tensor in ann().items() if "tracked" not in key}
    torch.save(state, "old.pth")
    code, out, _ = convert("ann", "old.pth", "ann.safetensors")
    assert code == 0
    assert out.endswith("ann.safetensors; 2 counters of batches (num_batches_tracked), not in the source, are 0\n")
    torch.save(state | {"bn1.num_batches_tracked": torch.tensor(3)}, "half.pth")  # neither old nor whole
    code, _, err = convert("ann", "half.pth", "half.safetensors")
    assert code == 1
    assert err.endswith("1 tensor does not match: missing bn2.num_batches_tracked ()")


def test_all_tensors_that_do_not_match_are_listed_and_nothing_is_written(convert, tmp_path):
    state = ann()
    del state["fc1.bias"]
    state["fc2.weight"] = state["fc2.weight"].T.contiguous()
    state["bn1.weight"] = state["bn1.weight"].double() / 3  # float32 has no such numbers
    state["bn2.weight"] = torch.ones(3, dtype=torch.bfloat16)
    state["extra.gamma\n"] = torch.ones(2, 3)
    torch.save(state, "ann.pth")
    code, out, err = convert("ann", "ann.pth", "ann.safetensors")
    assert (code, out) == (1, "")
    assert err == (
        "error: ann.pth does not hold ann with 10 classes (fc3.bias is (10,)): 5 tensors do not match: "
        "missing fc1.bias (128,); unexpected 'extra.gamma\\n' (2, 3); bn1.weight is float64, expected float32; "
        "fc2.weight is (128, 64), expected (64, 128); bn2.weight is (3,) bfloat16, expected (64,) float32; "
        "nothing is rounded silently: cast them and save them anew"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["ann.pth"]


def test_faults_of_a_flax_file_are_listed_by_its_own_names(convert, tmp_path):
    variables = flatten(to_flax(ann()))
    variables["params/fc2/kernel"] = variables["params/fc2/kernel"].astype(np.float64) / 3
    variables["params/fc9/bias"] = np.ones(2)
    safetensors.numpy.save_file({k: np.array(v, order="C") for k, v in variables.items()}, "ann.safetensors")
    code, _, err = convert("ann", "ann.safetensors", "ann.pth")
    assert code == 1
    assert "2 tensors do not match: unexpected params/fc9/bias (2,); params/fc2/kernel is float64, expected" in err
    assert not (tmp_path / "ann.pth").exists()


def test_a_counter_is_never_cut_off(convert):
    torch.save(ann() | {"bn1.num_batches_tracked": torch.tensor(2**31)}, "ann.pth")
    code, _, err = convert("ann", "ann.pth", "ann.safetensors")
    assert code == 1
    assert err.endswith("batch_stats/bn1/num_batches_tracked holds 2147483648, more than int32 can")


def test_a_target_is_never_overwritten_and_must_fit(convert, tmp_path):
    torch.save(ann(), "ann.pth")
    for name in ("there.safetensors", "part.safetensors.part"):
        Path(name).write_text("dear to me")
    Path("dangling.safetensors").symlink_to("nowhere")
    before = sorted(tmp_path.iterdir())
    suffixes = ".safetensors, .pth, .pt"
    for target, said in {
        "there.safetensors": "there.safetensors exists already and is never overwritten; name another file",
        "dangling.safetensors": "dangling.safetensors exists already and is never overwritten; name another file",
        "ann.pth": "ann.pth exists already and is never overwritten; name another file",
        "part.safetensors": "part.safetensors.part: cannot be written (File exists)",
        "no/such.safetensors": "no/such.safetensors: no such folder to write it in",
        "ann.npz": f"ann.npz: ends in '.npz', expected a file of weights: {suffixes}",
        "ann": f"ann: has no suffix, expected a file of weights: {suffixes}",
        "new.pth": "new.pth: ann.pth is PyTorch's, so this becomes Flax's, which must end in .safetensors",
    }.items():
        assert convert("ann", "ann.pth", target) == (1, "", f"error: {said}"), target
    assert sorted(tmp_path.iterdir()) == before
    assert Path("there.safetensors").read_text() == Path("part.safetensors.part").read_text() == "dear to me"


def test_a_full_disk_leaves_nothing(convert, monkeypatch, tmp_path):
    torch.save(ann(), "ann.pth")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "write", full)
    code, _, err = convert("ann", "ann.pth", "ann.safetensors")
    assert (code, err) == (1, "error: ann.safetensors: cannot be written (No space left on device)")
    assert [path.name for path in tmp_path.iterdir()] == ["ann.pth"]


def test_other_bad_arguments_of_convert_are_one_line(convert):
    torch.save(ann(), "ann.pth")
    code, _, err = convert("an", "ann.pth", "x.safetensors")
    assert (code, err.count("\n")) == (1, 0)
    assert err.startswith("error: unknown model 'an'. Did you mean 'ann'? Known: ")
    line = "error: --num-classes is 0, expected at least 1"
    assert convert("ann", "ann.pth", "x.safetensors", "--num-classes", 0) == (1, "", line)
    _, _, err = convert("ann", "ann.pth", "x.safetensors", "--num-classes", 5)
    assert "ann with 5 classes (--num-classes): 2 tensors do not match: fc3.weight is (10, 64), expected (5" in err


# --- files that must be refused -------------------------------------------------------------------------------------


class Module(torch.nn.Linear):
    """A whole module, saved by pickle, as many do."""


def damaged(path: str) -> str:
    what = "damaged, or not a file of tensors by torch.save"
    return f"{path}: {what}; the end of the archive is missing: get or save it again"


def more(path: str, what: str) -> str:
    return f"{path}: holds more than tensors ({what}) and was not loaded, nothing in it was run; {ADVICE}"


def expected(path: str, found: str) -> str:
    return f"{path}: expected a flat dict of names to tensors, but {found}; {ADVICE}"


WHOLE = saved({"x.bias": torch.ones(3)})
TENSORS = safetensors.numpy.save({"x.bias": np.ones(3)})
TWO = {"epoch": 3, "encoder": {"x.bias": torch.ones(3)}, "decoder": {"x.bias": torch.ones(3)}}
BAD_FILES = [
    ("evil.pth", saved({"x": EvilSystem()}), more("evil.pth", f"{os.name}.system")),
    ("touch.pth", saved({"x": Evil()}), more("touch.pth", "getattr")),
    (
        "old.pth",
        saved({"x": EvilSystem()}, _use_new_zipfile_serialization=False),
        more("old.pth", f"{os.name}.system"),
    ),
    (
        "module.pt",
        saved(Module(2, 2)),
        f"module.pt: is a whole module ({__name__}.Module), which needs its class, and...",
    ),
    ("numpy.pth", saved({"x": np.float32(1)}), more("numpy.pth", "numpy._core.multiarray.scalar")),
    ("cut.pth", WHOLE[:-1], damaged("cut.pth")),
    ("half.pth", WHOLE[: len(WHOLE) // 2], damaged("half.pth")),
    ("empty.pth", b"", "empty.pth: is empty (0 bytes); the save or the download was cut off: get it again"),
    (
        "text.pth",
        b"hello, world",
        "text.pth: is a text of 12 bytes ('hello, world'), not weights; expected weights: ...",
    ),
    ("list.pth", saved([torch.ones(3)]), f"list.pth: expected a dict of names to tensors, found list; {ADVICE}"),
    (
        "two.pth",
        saved(TWO),
        "two.pth: holds several sets of tensors, 'encoder', 'decoder'; save one of them: "
        "torch.save(checkpoint['encoder'], FILE)",
    ),
    ("many.pth", saved(dict.fromkeys("abcdefg", 0)), "'e' is int, and 2 more; " + ADVICE),
    ("keys.pth", saved({0: torch.ones(1)}), expected("keys.pth", "0 is Tensor")),
    ("none.pth", saved({}), "none.pth: holds no tensors"),
    ("meta.pth", saved({"x": torch.ones(2, device="meta")}), "'x' is a strided float32 tensor on 'meta', which numpy"),
    ("cut.safetensors", TENSORS[:-1], "cut.safetensors: not a whole safetensors file (..."),
    (
        "empty.safetensors",
        b"",
        "empty.safetensors: is empty (0 bytes); the save or the download was cut off: get it again",
    ),
    ("none.safetensors", safetensors.numpy.save({}), "none.safetensors: holds no tensors"),
    (
        "weights.h5",
        b"\x89HDF\r\n\x1a\n",
        "weights.h5: is an HDF5 file (Keras writes them); save the arrays with numpy.savez",
    ),
    (
        "weights",
        b"\xff\xfe\xfd",
        "weights: damaged, or of a format that is not known; expected weights: torch.save, ...",
    ),
    ("nowhere.pth", None, "nowhere.pth: no such file or run folder"),
    ("nowhere.safetensors", None, "nowhere.safetensors: no such file or run folder"),
    ("nowhere", None, "nowhere: no such file or run folder"),
]


@pytest.mark.parametrize(("name", "content", "said"), BAD_FILES, ids=[name for name, *_ in BAD_FILES])
def test_a_bad_file_is_one_line_and_nothing_in_it_runs(name, content, said, convert, run_main, tmp_path):
    if content is not None:
        Path(name).write_bytes(content)
    before = list(tmp_path.iterdir())
    code, out, err = convert("mlp", name, "target.safetensors")
    assert (code, out) == (1, "")
    whole = said.startswith(name) and not said.endswith("...")
    said = said.removesuffix("...")
    assert err == f"error: {said}" if whole else said in err
    assert (err.count("\n"), len(err) < 600) == (0, True)
    for framework in FRAMEWORKS if name == "evil.pth" else ("torchnets",):  # one reads for both
        code, out, err = run_main(f"{framework}.train", "--model", "mlp", "--weights", name)
        assert (code, out) == (1, "")
        assert err == f"error: {said}\n" if whole else said in err
        assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == before  # no target, no run folder, nothing executed


def test_an_unreadable_file_and_a_folder_without_weights_are_one_line(convert, tmp_path):
    (tmp_path / "folder").mkdir()
    line = "error: folder/weights.safetensors: cannot be read (No such file or directory)"
    assert convert("mlp", "folder", "x.pth") == (1, "", line)
    (tmp_path / "folder.pth").mkdir()  # a folder, whatever it is called
    assert convert("mlp", "folder.pth", "x.pth")[2] == line.replace("folder/", "folder.pth/")


def test_every_type_of_number_is_read_as_what_it_is(tmp_path):
    types = (
        torch.bfloat16,
        torch.float16,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.float64,
        torch.int8,
        torch.bool,
    )
    state = {str(dtype): torch.tensor([0, 1]).to(dtype) for dtype in types} | {"0": torch.tensor(1.5).bfloat16()}
    torch.save(state, tmp_path / "all.pth")
    safetensors.torch.save_file(state, tmp_path / "all.safetensors")
    for path in tmp_path.iterdir():
        for name, array in read(path).items():
            assert str(state[name].dtype) == f"torch.{array.dtype}"
            assert (array.astype(np.float64) == state[name].double().numpy()).all()
