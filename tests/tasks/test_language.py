"""Language models measured: found out by themselves, read, answered, drawn, refused in a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ncollapse as nc
from ncollapse.cli.measure_texts import sequences_at_once
from ncollapse.metrics.shares import PARTS
from ncollapse.metrics.token_kinds import KINDS, kinds_of
from ncollapse.report.html import write_report
from ncollapse.sources.specs.optional import optional
from ncollapse.sources.specs.texts import load_texts, spare_rows
from ncollapse.tasks.language import FREQUENT
from tests.cli.test_commands import run

WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "saw", "7", "dogs", ".", "then", "it", "ran")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    made = optional("tokenizers")
    bpe = made.Tokenizer(made.models.BPE())
    bpe.pre_tokenizer = made.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = made.decoders.ByteLevel()
    trainer = made.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<eof>"],
        initial_alphabet=made.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([" ".join(WORDS) + "\n"], trainer)
    fast = optional("transformers").PreTrainedTokenizerFast
    return fast(tokenizer_object=bpe, eos_token="<eof>", pad_token="<eof>")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("corpus") / "texts"
    place.mkdir()
    generator = torch.Generator().manual_seed(0)
    for number in range(24):
        drawn = torch.randint(len(WORDS), (60,), generator=generator).tolist()
        (place / f"{number}.txt").write_text(" ".join(WORDS[k] for k in drawn) + "\n")
    return place


def model_of(kind: str, rows: int, *, tied: bool = False) -> Any:
    transformers = optional("transformers")
    common = {"vocab_size": rows, "tie_word_embeddings": tied}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    places = {"max_position_embeddings": 16, "intermediate_size": 32}
    config = {
        "gpt2": lambda: transformers.GPT2Config(
            n_positions=16, n_embd=16, n_layer=1, n_head=2, **common, **ends
        ),
        "neox": lambda: transformers.GPTNeoXConfig(**sizes, **places, **common, **ends),
        "llama": lambda: transformers.LlamaConfig(**sizes, **places, **common, **ends),
    }[kind]()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize(
    ("kind", "dtype", "tied"),
    [
        ("gpt2", torch.float32, True),
        ("neox", torch.float32, False),
        ("llama", torch.bfloat16, False),
        ("gpt2", torch.bfloat16, True),
    ],
)
def test_models_are_read_after_their_final_norm(
    kind: str, dtype: torch.dtype, tied: bool, tokenizer: Any, texts: Path
) -> None:
    model = model_of(kind, len(tokenizer), tied=tied).to(dtype)
    data = load_texts(texts, tokenizer, model=model)
    found = nc.measure(
        model, data.splits, class_names=data.class_names, null=False, batch_size=8, limit=20
    )
    document = found.document
    assert document.config["task"]["name"] == "language"
    assert document.num_classes == len(tokenizer)
    assert document.config["features_dtype"] == str(dtype).removeprefix("torch.")
    # By hand: what enters the head at every real position, its class the next token.
    features, labels = [], []
    for place in range(20):
        item = data.splits["train"][place]
        with torch.no_grad():
            hidden = model.base_model(item["input_ids"][None]).last_hidden_state[0]
        known = (item["labels"][1:] != -100) & item["attention_mask"][:-1].bool()
        features.append(hidden[:-1][known].double())
        labels.append(item["labels"][1:][known])
    h, y = torch.cat(features), torch.cat(labels)
    assert document.config["splits"]["train"] == len(y)
    total = (h - h.mean(0)).square().sum()
    means = torch.stack([h[y == v].mean(0) for v in y.unique()])
    place = torch.searchsorted(y.unique(), y)
    context = float((h - means[place]).square().sum() / total)
    shares = document.config["details"]["train"]["shares"]
    assert shares["plug_in"][2] == pytest.approx(context, rel=0.02)
    head = model.get_output_embeddings().weight.detach().float()
    right = float(((h.float() @ head.T).argmax(1) == y).double().mean())
    assert found.value("lm_accuracy") == pytest.approx(right, abs=0.03)
    assert sum(found.value(f"lm_share_{part}") for part in PARTS) == pytest.approx(1)


def test_the_page_is_headed_by_shares_and_ticks_conditions(
    tokenizer: Any, texts: Path, tmp_path: Path
) -> None:
    model = model_of("gpt2", len(tokenizer), tied=True)
    data = load_texts(texts, tokenizer, model=model)
    found = nc.measure(model, data.splits, class_names=data.class_names, batch_size=16)
    ids = [verdict.id for verdict in found.verdicts]
    assert ids == [
        "language_collapsed:train", "language_collapsed:validation", "language_could",
        "language_dual", "language_nearest",
    ]  # fmt: skip
    details = found.document.config["details"]
    held = {row["name"]: row for row in details["train"]["preconditions"]}
    assert held["train_error"]["holds"] is False
    assert held["several_successors"]["holds"] is False
    assert held["epochs"]["holds"] is None
    assert (
        sum(details["train"]["frequency"]["positions"]) == found.document.config["splits"]["train"]
    )
    assert all(row.count >= FREQUENT for row in found.classes if row.split == "train")
    assert "preconditions" not in details["validation"]
    page = write_report(found.save(tmp_path / "run")).read_text()
    order = [page.index(said) for said in ("Where features vary", "Frequent and rare", "asks for")]
    assert order == sorted(order)
    assert "✗" in page
    saved = json.loads((tmp_path / "run" / "results.json").read_text())
    assert saved["config"]["task"]["name"] == "language"


def test_one_command_measures_a_saved_model(
    tokenizer: Any, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "model"
    model_of("gpt2", len(tokenizer)).save_pretrained(place)
    tokenizer.save_pretrained(place)
    # A folder with config.json needs no hf: before it.
    asked = ("measure", "--model", str(place), "--data", str(texts))
    code, out, err = run(
        capsys, *asked, "--limit", "10", "--no-null", "--output", tmp_path / "out", "--json"
    )
    assert code == 0, err
    document = json.loads(out)
    assert document["config"]["task"]["name"] == "language"
    assert set(document["results"]) == {"train", "validation"}
    code, out, _ = run(capsys, *asked, "--limit", "10", "--dry-run")
    assert code == 0 and f"would read {place.name}" in out and "input of 'lm_head'" in out
    code, out, _ = run(capsys, "weights", place, "--json", "--no-null")
    alone = json.loads(out)
    assert alone["num_classes"] == document["num_classes"]
    assert alone["config"]["head"]["name"] in ("lm_head.weight", "transformer.wte.weight")
    assert "config.json has" in alone["config"]["head"]["check"]
    code, _, err = run(capsys, *asked, "--max-length", "1")
    assert code == 2
    assert "no next token" in err
    code, _, err = run(capsys, *asked, "--max-length", "99")
    assert code == 2
    assert "more than the 16 positions" in err


def test_a_tokenizer_is_held_against_the_head(tokenizer: Any, texts: Path, tmp_path: Path) -> None:
    small = model_of("gpt2", len(tokenizer) - 5)
    with pytest.raises(ValueError, match=f"the tokenizer has {len(tokenizer)} tokens and the head"):
        load_texts(texts, tokenizer, model=small)
    assert spare_rows(tokenizer, model_of("gpt2", len(tokenizer) + 20)) is None
    said = spare_rows(tokenizer, model_of("gpt2", len(tokenizer) + 700))
    assert said is not None and "700 rows are never a class" in said
    with pytest.raises(ValueError, match="no tokenizer was read at"):
        load_texts(texts, tmp_path)
    data = load_texts(texts, tokenizer, model=small_enough(tokenizer))
    assert sequences_at_once(data, small_enough(tokenizer), 1 << 30) < 1 << 30


def small_enough(tokenizer: Any) -> Any:
    return model_of("gpt2", len(tokenizer))


def test_kinds_of_tokens() -> None:
    names = ["␣the", "ing", "42", "␣", "⏎⏎", "Ġcat", "==", "row 7", "\\x00", "␣_x", "▁42", "é"]
    kinds = [KINDS[k] for k in kinds_of(names).tolist()]
    word, letters, digits, space, marks, other = KINDS
    assert kinds == [
        word, letters, digits, space, space, word, marks, other, other, word, word, letters,
    ]  # fmt: skip
