"""ncollapse measure FILE, or --model and --data"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncollapse.cli.common import (
    PairBudget,
    check_source,
    note,
    only_writer,
    parse_size,
    progress_bars,
    say,
    say_json,
    set_logging,
)
from ncollapse.cli.measure_elsewhere import file_with_forgotten
from ncollapse.cli.ranks import local_device, process_group, speaks

if TYPE_CHECKING:
    from ncollapse.measuring.measurement import Measurement

SNAPSHOT, KEPT = "snapshot.safetensors", "snapshot"
MODEL = "Models"


def measure(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Feature file (.npz, .safetensors, .parquet, .npy, .pt, .csv, .tsv) or a folder."
        ),
    ] = None,
    features_key: Annotated[
        str | None,
        typer.Option(help="Array (or pattern of columns) of a file that holds features."),
    ] = None,
    labels_key: Annotated[
        str | None, typer.Option(help="Array or column of a file that holds labels.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="File of labels alone (.npy, .pt, .csv, .txt).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print results.json only.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for results, tables, geometry, report."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run of --output.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="A checkpoint or its folder, torchvision:NAME, timm:NAME, hf:NAME_OR_FOLDER, or "
            "package.module:function, which runs your own code."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="State dict (.pt, .safetensors), 'default', or a pattern in quotes "
            "('ckpt/epoch_*.pt'): one trace over checkpoints."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder of images, digits, torchvision:NAME, hf:NAME, package.module:function, "
            "or texts (a folder, a .txt or .jsonl file, texts:PATTERN) for a language model."
        ),
    ] = None,
    ood: Annotated[
        list[str] | None,
        typer.Option(
            help="Data of other classes, as --data (or a feature file beside one): how well scores "
            "tell it apart. May be repeated."
        ),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(help="Layers beside the head: names, globs, '*' for every block."),
    ] = None,
    transfer: Annotated[
        str | None,
        typer.Option(
            help="Data of other classes, as --data: what they find in every layer, and whether the "
            "model will transfer."
        ),
    ] = None,
    shots: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Samples a class for --transfer, 5 by default; may be repeated."),
    ] = None,
    head: Annotated[str | None, typer.Option(help="Name of the classifier, or 'none'.")] = None,
    pool: Annotated[
        str,
        typer.Option(
            help="auto, mean, cls, last, flatten, channels-first, channels-last or time-first."
        ),
    ] = "auto",
    old: Annotated[
        str | None, typer.Option(help="Data of earlier classes, as --data: what is known of them.")
    ] = None,
    forgotten: Annotated[
        str | None, typer.Option(help="Classes said to be unlearned (3,7 or names): are they?")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
    dtype: Annotated[str, typer.Option(help="float32; float16 or bfloat16 is mixed.")] = "float32",
    batch_size: Annotated[int, typer.Option(min=1, help="Samples a forward pass.")] = 128,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Samples a split, evenly spread over it.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(min=8, help="Side of the images.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="For texts; default: that of an hf: model.")
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(help="next: a language model, classes are next tokens; same: token labels."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens a sequence of texts; default the model's.")
    ] = None,
    pixels_per_image: Annotated[
        int | None,
        typer.Option(min=0, help="Segmentation: pixels are samples, so many an image (0: all)."),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            help="auto (found from labels and model), classification, regression, ordinal, "
            "language or multilabel."
        ),
    ] = "auto",
    reference: Annotated[
        str | None,
        typer.Option(help="Split whose class means decide; train or the first one by default."),
    ] = None,
    min_count: Annotated[
        int, typer.Option(min=1, help="Leave out classes with fewer training samples.")
    ] = 1,
    pair_budget: PairBudget = 2e9,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load data.")] = 0,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run the model again instead of keeping features.")
    ] = False,
    cache_budget: Annotated[str, typer.Option(help="Features in memory, then disk.")] = "1GB",
    no_geodesic: Annotated[
        bool, typer.Option("--no-geodesic", help="Do not hold layers against a straight path.")
    ] = False,
    num_classes: Annotated[
        int | None, typer.Option(help="K, where no weight is stored and classes may be absent.")
    ] = None,
    ignore_index: Annotated[int, typer.Option(help="Label of samples to skip.")] = -100,
    weighting: Annotated[str, typer.Option(help="macro (classes alike) or micro.")] = "macro",
    definition: Annotated[
        str | None, typer.Option(help="A published variant; see `ncollapse explain KEY`.")
    ] = None,
    mode: Annotated[str, typer.Option(help="full, trace or sketch: bounds the state.")] = "full",
    no_null: Annotated[bool, typer.Option("--no-null", help="Skip null comparators.")] = False,
    no_intervals: Annotated[bool, typer.Option("--no-intervals", help="Skip intervals.")] = False,
    no_decisions: Annotated[
        bool, typer.Option("--no-decisions", help="Skip NC4 and accuracies.")
    ] = False,
    directional: Annotated[
        bool, typer.Option("--directional", help="Directions and lengths of features too.")
    ] = False,
    attack: Annotated[
        str | None,
        typer.Option(
            help="pgd, noise, or package.module:function, your own attack(model, inputs, labels); "
            "adds splits such as test@pgd and test@noise."
        ),
    ] = None,
    eps: Annotated[
        float | None, typer.Option(help="Size of the attack, in units of the inputs.")
    ] = None,
    norm: Annotated[str, typer.Option(help="Norm of the attack: linf or l2.")] = "linf",
    steps: Annotated[int, typer.Option(help="Steps of pgd.")] = 20,
    step_size: Annotated[
        float | None, typer.Option(help="Of a step of pgd; 2.5 eps/steps by default.")
    ] = None,
    targeted: Annotated[
        bool, typer.Option("--targeted", help="Attack towards the next class number.")
    ] = False,
    clip: Annotated[
        str | None,
        typer.Option(help="LOW,HIGH of valid inputs, or none; what the data hold by default."),
    ] = None,
    attack_split: Annotated[
        list[str] | None, typer.Option(help="Splits to attack; all by default.")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(help="Group attacked inputs by target or predicted too, as splits."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the comparators.")] = 0,
    show: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
    memory_budget: Annotated[str, typer.Option(help="For class scatters, e.g. 2GB.")] = "2GB",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log and traceback.")] = False,
) -> None:
    """Measure neural collapse of stored features, or of a model on its data.

    A file holds `features` (samples, dim) and `labels` (samples), and may hold `weight`
    (classes, dim), `bias` (classes), `split` (samples) and `class_names` (classes). Real-valued
    labels, or `targets` (samples, numbers), are those of a regression. A model runs
    once over its data; the layer that makes the logits is found and checked.

    Examples:  ncollapse measure features.npz --json
    |  ncollapse measure shards/ --output out/ --resume
    |  ncollapse measure --model best.pt --data photos/
    |  ncollapse measure --model timm:resnet18 --weights best.pt --data imagefolder:data/
    |  ncollapse measure --model hf:my-gpt/ --data texts/
    |  ncollapse measure --model my.code:build --data my.code:loaders --layers '*' -o out/
    |  ncollapse measure --model my.code:build --data my.code:loaders --attack pgd --eps 0.15
    |  ncollapse measure --model my.code:build --data my.code:loaders --ood my.code:strangers
    |  ncollapse measure --model my.code:build --data digits --transfer my.code:others
    |  torchrun --nproc-per-node=2 -m ncollapse measure features.npz
    """
    quiet = quiet or not speaks()
    set_logging(quiet, verbose)
    check_source(file, model, data)
    if file is None and (features_key or labels_key or labels):
        raise ValueError("--features-key, --labels-key and --labels belong to a feature file")
    if transfer is not None and model is None:
        raise ValueError("--transfer runs a model over other data; pass --model and --data")
    if shots and transfer is None:
        raise ValueError("--shots belongs to --transfer, the data of other classes")
    if old is not None and model is None:
        raise ValueError("--old needs --model and --data: a file holds no model to run on it")
    if (resume or show) and output is None:
        raise ValueError(
            f"--{'resume' if resume else 'open'} needs --output, the folder of the run"
        )
    if weighting not in ("macro", "micro"):
        raise ValueError(f"--weighting {weighting!r} is unknown; macro or micro is needed")
    if pixels_per_image is not None and (model is None or layers or tokens is not None):
        raise ValueError("--pixels-per-image goes with --model, without --layers and --tokens")
    hostile = None
    if attack is not None:
        from ncollapse.cli.attack import attack_of

        unfit = {
            "a feature file": file is not None,
            "--resume": resume,
            "--tokens": tokens is not None,
            "--no-decisions": no_decisions,
            "--head none": head == "none",
        }
        hostile = attack_of(
            attack,
            unfit=[name for name, asked in unfit.items() if asked],
            eps=eps,
            norm=norm,
            steps=steps,
            step_size=step_size,
            targeted=targeted,
            clip=clip,
            splits=attack_split,
            groups=group,
        )
    elif eps is not None or targeted or clip is not None:
        raise ValueError(
            "--eps, --targeted and --clip belong to --attack, which is missing: add it"
        )
    began = time.monotonic()
    options: dict[str, Any] = {
        "num_classes": num_classes if file is not None else None,
        "ignore_index": ignore_index,
        "weighting": weighting,
        "definition": definition,
        "mode": mode,
        "null": not no_null,
        "intervals": not no_intervals,
        "decisions": not no_decisions,
        "seed": seed,
        "memory_budget": parse_size(memory_budget),
        "min_count": min_count,
        "reference": reference,
        "task": task,
        "pair_budget": pair_budget,
        "directional": directional,
    }
    snapshot = None if output is None else output / (SNAPSHOT if file is not None else KEPT)
    with only_writer(output):
        try:
            with process_group() as shared, progress_bars(quiet, verbose) as progress:
                options["progress"] = progress
                if file is not None:
                    from ncollapse.cli.measure_file import measure_file

                    keys = {
                        "features_key": features_key,
                        "labels_key": labels_key,
                        "labels": labels,
                    }
                    result = measure_file(
                        file, snapshot, resume, quiet, shared, options, ood or [], keys
                    )
                    result = file_with_forgotten(
                        result, file, forgotten, seed, ignore_index, **keys
                    )
                else:
                    from ncollapse.cli.measure_model import measure_spec

                    assert model is not None and data is not None
                    result = measure_spec(
                        model,
                        data,
                        weights=weights,
                        num_classes=num_classes,
                        head=head,
                        layers=layers,
                        pool=pool,
                        device=local_device(device),
                        dtype=dtype,
                        batch_size=batch_size,
                        limit=limit,
                        image_size=image_size,
                        tokenizer=tokenizer,
                        workers=workers,
                        cache=not no_cache,
                        cache_budget=parse_size(cache_budget),
                        geodesic=False if no_geodesic else None,
                        options=options,
                        tokens=tokens,
                        max_length=max_length,
                        pixels=pixels_per_image,
                        output=output,
                        snapshot=snapshot,
                        resume=resume,
                        attack=hostile,
                        ood=ood or [],
                        transfer=transfer,
                        shots=tuple(shots or (5,)),
                        old=old,
                        forgotten=forgotten,
                    )
        except KeyboardInterrupt:
            if snapshot is not None and _began(snapshot):
                note(f"interrupted; continue with the same command and --resume (in {output})")
            raise
        if not speaks():
            return
        if output is not None:
            _save(result, output, snapshot, show)
        if json:
            say_json(result.document.to_json())
            return
        _print(result, time.monotonic() - began)
        if output is not None:
            say(f" results  {output / 'results.json'}\n report   {output / 'report.html'}")


def _save(result: Measurement, output: Path, snapshot: Path | None, show: bool) -> None:
    from ncollapse.collect.keep.kept import remove_kept
    from ncollapse.record.snapshots import remove_snapshot
    from ncollapse.report.html import write_report

    write_report(result.save(output), show=show)
    if snapshot is not None:
        remove = remove_kept if snapshot.name == KEPT else remove_snapshot
        remove(snapshot)


def _began(snapshot: Path) -> bool:
    """Whether there is something to go on from."""
    from ncollapse.collect.keep.kept import is_kept
    from ncollapse.record.snapshots import is_snapshot

    return is_kept(snapshot) if snapshot.name == KEPT else is_snapshot(snapshot)


def _print(result: Measurement, seconds: float) -> None:
    from ncollapse.report.attacks import render_attack
    from ncollapse.report.downstream import render_downstream
    from ncollapse.report.foreign import render_ood
    from ncollapse.report.terminal import render, render_layers
    from ncollapse.report.transfer import render_transfer

    document = result.document
    say(render(document, result.classes, seconds=seconds))
    tables = [render_layers(document), render_attack(document), render_ood(document)]
    if document.transfer:
        tables.append(render_transfer(document.transfer))
    for table in (*tables, render_downstream(document)):
        if table:
            say("")
            say(table)
