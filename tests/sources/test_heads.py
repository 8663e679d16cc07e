"""Which tensor of a checkpoint is the head: by names and shapes alone, whatever form it lies in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ncollapse.sources.heads.checkpoint import Checkpoint
from ncollapse.sources.heads.guess import candidates, find_head
from ncollapse.sources.heads.head import stored_head
from ncollapse.sources.heads.opened import open_checkpoint
from ncollapse.sources.heads.tensors import of_state


def zeros(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


RESNET = zeros(
    conv1__weight=(8, 3, 3, 3),
    layer1__0__downsample__0__weight=(16, 8, 1, 1),
    fc__weight=(10, 16),
    fc__bias=(10,),
)
VGG = zeros(
    features__0__weight=(8, 3, 3, 3),
    classifier__0__weight=(32, 8),
    classifier__0__bias=(32,),
    classifier__3__weight=(5, 32),
    classifier__3__bias=(5,),
)
ROBERTA = zeros(
    roberta__embeddings__word_embeddings__weight=(50, 16),
    roberta__embeddings__position_embeddings__weight=(20, 16),
    roberta__encoder__layer__0__attention__self__query__weight=(16, 16),
    roberta__encoder__layer__0__output__dense__weight=(16, 64),
    roberta__pooler__dense__weight=(16, 16),
    classifier__dense__weight=(16, 16),
    classifier__dense__bias=(16,),
    classifier__out_proj__weight=(3, 16),
    classifier__out_proj__bias=(3,),
)
SEQUENCE = zeros(**{
    "0__weight": (64, 20), "0__bias": (64,), "2__weight": (7, 64), "2__bias": (7,),
})  # fmt: skip
GPT = zeros(
    transformer__wte__weight=(50, 16),
    transformer__wpe__weight=(20, 16),
    transformer__h__0__attn__c_attn__weight=(16, 48),
    transformer__h__0__mlp__c_fc__weight=(16, 64),
)
SQUEEZE = zeros(features__0__weight=(8, 3, 3, 3), classifier__1__weight=(10, 8, 1, 1))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (RESNET, "fc.weight"),
        (VGG, "classifier.3.weight"),
        (ROBERTA, "classifier.out_proj.weight"),
        (SEQUENCE, "2.weight"),
        (SQUEEZE, "classifier.1.weight"),
        ({f"module.{k}": v for k, v in RESNET.items()}, "module.fc.weight"),
    ],
    ids=["resnet", "vgg", "roberta", "sequence", "squeezenet", "wrapped"],
)
def test_usual_layouts(state, wanted, ordered) -> None:
    whole = of_state(state, "net")
    found = find_head(Checkpoint("net", whole.entries, whole.fetch, ordered=ordered))
    assert (found.guess.name, found.origin) == (wanted, "guessed")
    assert found.why and all(other.name != wanted for other in found.others)


def test_a_language_model_without_a_head_is_read_at_its_tied_embedding() -> None:
    whole = of_state(GPT, "gpt")
    config = {"architectures": ["GPT2LMHeadModel"], "vocab_size": 50}
    tied = Checkpoint("gpt", whole.entries, whole.fetch, config=config)
    assert find_head(tied).guess.name == "transformer.wte.weight"
    assert "no head of its own" in find_head(tied).why
    own = of_state({**GPT, "lm_head.weight": torch.zeros(50, 16)}, "gpt")
    both = Checkpoint("gpt", own.entries, own.fetch, config=config)
    assert find_head(both).guess.name == "lm_head.weight"
    config = {**config, "tie_word_embeddings": False}
    untied = Checkpoint("gpt", whole.entries, whole.fetch, config=config)
    with pytest.raises(ValueError, match="no classifier was found in gpt"):
        find_head(untied)


def test_what_cannot_be_told_is_refused_with_all_matrices() -> None:
    backbone = {k: v for k, v in ROBERTA.items() if not k.startswith("classifier")}
    with pytest.raises(ValueError, match=r"no classifier was found.*query\.weight \(16 x 16\)"):
        find_head(of_state(backbone, "encoder"))
    twins = {**RESNET, "head.weight": torch.zeros(10, 16), "head.bias": torch.zeros(10)}
    del twins["fc.bias"], twins["head.bias"]
    alike = of_state(twins, "two")
    with pytest.raises(ValueError, match=r"several matrices of two.*fc\.weight.*head\.weight"):
        find_head(Checkpoint("two", alike.entries, alike.fetch))
    with pytest.raises(ValueError, match="has one row"):
        find_head(of_state(zeros(fc__weight=(1, 8)), "one"))
    with pytest.raises(ValueError, match="no matrix of floats"):
        find_head(of_state({"steps": torch.zeros(3)}, "none"))


def test_a_named_head_is_taken_by_tensor_or_layer_and_misses_are_listed() -> None:
    checkpoint = of_state(VGG, "vgg")
    for name in ("classifier.0.weight", "classifier.0", "0"):
        assert find_head(checkpoint, name).guess.bias == "classifier.0.bias"
    with pytest.raises(ValueError, match=r"--head 'nothing' is no matrix.*classifier\.3"):
        find_head(checkpoint, "nothing")
    assert [g.points for g in candidates(checkpoint)] == sorted(
        (g.points for g in candidates(checkpoint)), reverse=True
    )


def test_only_the_head_is_read(tmp_path: Path, monkeypatch) -> None:
    """Of a .safetensors file no other tensor is touched."""
    import ncollapse.sources.heads.tensors as tensors

    save_file(
        {**RESNET, "fc.weight": torch.arange(160.0).reshape(10, 16)}, tmp_path / "m.safetensors"
    )
    asked: list[str] = []
    real = tensors.safe_open

    class Spy:
        def __init__(self, *args, **more) -> None:
            self.inner = real(*args, **more)

        def __enter__(self):
            self.handle = self.inner.__enter__()
            return self

        def __exit__(self, *error) -> None:
            self.inner.__exit__(*error)

        def get_tensor(self, name: str) -> Tensor:
            asked.append(name)
            return self.handle.get_tensor(name)

        def __getattr__(self, name: str):
            return getattr(self.handle, name)

    monkeypatch.setattr(tensors, "safe_open", Spy)
    head = stored_head(open_checkpoint(tmp_path / "m.safetensors"))
    assert head.weight.shape == (10, 16) and head.bias is not None
    assert asked == ["fc.weight", "fc.bias"]


def sharded(folder: Path, **index: object) -> Path:
    folder.mkdir()
    weight = torch.arange(12.0).reshape(3, 4).to(torch.bfloat16)
    save_file({"body.0.attn.weight": torch.zeros(4, 4)}, folder / "m-1.safetensors")
    save_file({"score.weight": weight}, folder / "m-2.safetensors")
    where = {"body.0.attn.weight": "m-1.safetensors", "score.weight": "m-2.safetensors"}
    named = {"id2label": {"0": "ant", "1": "bee", "2": "cat"}, "architectures": ["XForSequence"]}
    (folder / "config.json").write_text(json.dumps(named))
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {**where, **index}})
    )
    return folder


def test_a_sharded_folder_with_names_of_classes(tmp_path: Path) -> None:
    head = stored_head(open_checkpoint(sharded(tmp_path / "hub")))
    assert head.class_names == ("ant", "bee", "cat")
    assert head.weight.dtype == torch.bfloat16 and float(head.weight[2, 3]) == 11
    assert head.found is not None and "config.json has 3 labels" in head.found.why
    # A hub's cache names the revision that main is.
    cache = tmp_path / "models--a--b"
    (cache / "refs").mkdir(parents=True)
    (cache / "snapshots").mkdir()
    (tmp_path / "hub").rename(cache / "snapshots" / "abc")
    (cache / "refs" / "main").write_text("abc")
    assert stored_head(open_checkpoint(cache)).weight.shape == (3, 4)


def test_an_index_never_leads_out_of_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which is no file of its folder"):
        open_checkpoint(sharded(tmp_path / "hub", x="../../secret.safetensors"))
    with pytest.raises(ValueError, match="is missing, a shard"):
        open_checkpoint(sharded(tmp_path / "other", x="m-3.safetensors"))


def test_pickled_files_are_read_safely_and_wrappers_opened(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": VGG}, tmp_path / "best.pth")
    assert find_head(open_checkpoint(tmp_path / "best.pth")).guess.name == "classifier.3.weight"
    with torch.random.fork_rng(devices=[]):
        torch.save(torch.nn.Linear(3, 2), tmp_path / "whole.pt")
    with pytest.raises(ValueError, match="cannot be read safely"):
        open_checkpoint(tmp_path / "whole.pt")
    (tmp_path / "whole.pt").unlink()
    torch.save(VGG, tmp_path / "second.pth")
    (tmp_path / "x.h5").touch()
    for place, said in (
        ("x.h5", "of no form"),
        ("none.pt", "does not exist"),
        (".", "several files"),
    ):
        with pytest.raises(ValueError, match=said):
            open_checkpoint(tmp_path / place)


def test_onnx_is_an_extra(tmp_path: Path, monkeypatch) -> None:
    import sys

    (tmp_path / "m.onnx").write_bytes(b"not protobuf")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"onnx is needed here.*ncollapse\[onnx\]"):
        open_checkpoint(tmp_path / "m.onnx")


@pytest.mark.parametrize("across", [True, False])
def test_onnx_initialisers_by_the_graph(tmp_path: Path, across: bool) -> None:
    """Names say nothing here: the graph says what makes the output, and which way it lies."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    first, last = torch.arange(48.0).reshape(8, 6), torch.arange(32.0).reshape(4, 8)
    arrays = {"onnx::1": first, "onnx::2": last if across else last.T}
    make = onnx.numpy_helper.from_array
    held = [make(value.contiguous().numpy(), name) for name, value in arrays.items()]
    nodes = [
        helper.make_node("Gemm", ["x", "onnx::1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "onnx::2"], ["z"], transB=int(across)),
        helper.make_node("Softmax", ["z"], ["p"]),
    ]
    ends = [helper.make_tensor_value_info(n, kind, [None, w]) for n, w in (("x", 6), ("p", 4))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    head = stored_head(open_checkpoint(tmp_path / "m.onnx"))
    assert torch.equal(head.weight, last)
    (tmp_path / "bad.onnx").write_bytes(b"not protobuf" * 9)
    with pytest.raises(ValueError, match=r"no valid \.onnx"):
        open_checkpoint(tmp_path / "bad.onnx")
