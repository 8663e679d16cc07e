"""Collapse beside the loss in the Hugging Face Trainer: one callback.

A small BERT without pretrained weights learns which of four topics a made-up sentence is about.
Runs in seconds, offline: `python examples/hugging_face_trainer.py [FOLDER]`.
"""

from __future__ import annotations

import sys
from tempfile import mkdtemp

import torch

# First: it lets transformers import beside a CPU torch where torchvision was built for CUDA.
from ncollapse.tracking.transformers import CollapseCallback  # isort: skip
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

TOPICS, WORDS, LENGTH = 4, 60, 12


def sentences(number: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Each topic prefers ten words of its own; half of a sentence is about anything."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(TOPICS, (number,), generator=generator)
    own = torch.randint(10, (number, LENGTH), generator=generator) + 10 * labels[:, None]
    other = torch.randint(WORDS, (number, LENGTH), generator=generator)
    ids = torch.where(torch.rand(number, LENGTH, generator=generator) < 0.5, own, other)
    return [{"input_ids": row, "labels": label} for row, label in zip(ids, labels, strict=True)]


def main(folder: str) -> None:
    set_seed(0)
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LENGTH,
        num_labels=TOPICS,
    )
    trainer = Trainer(
        BertForSequenceClassification(config),
        TrainingArguments(
            folder,
            num_train_epochs=4,
            per_device_train_batch_size=32,
            learning_rate=3e-3,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=sentences(640, seed=0),
        eval_dataset=sentences(256, seed=1),
        callbacks=[CollapseCallback()],
    )
    trainer.train()
    for key, value in trainer.evaluate().items():
        print(f"{key:<40}{value:.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else mkdtemp())
