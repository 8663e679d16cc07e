"""The commands put together."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ncollapse.cli.failure import DEBUG

EPILOG = """Examples:

  ncollapse demo

  ncollapse measure features.npz

  ncollapse measure --model timm:resnet18 --weights best.pt --data imagefolder:data/

  ncollapse weights model.safetensors

  ncollapse predict --counts 5000x5,50x5 --weight-decay 5e-4 --feature-decay 1e-5

  ncollapse report out/

  ncollapse compare a/results.json b/results.json

  ncollapse check out/results.json --max nc1_fisher=0.1 --min class_share=0.9

  ncollapse advise out/ --goal transfer

  ncollapse explain nc1_fisher

  ncollapse study run imbalance
"""


def _version(wanted: bool | None) -> None:
    if wanted:
        from ncollapse import __version__

        typer.echo(f"ncollapse {__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = None,
) -> None:
    """Measure, predict and control neural collapse.

    Exit codes: 0 finished, 1 a check failed, 2 bad input, 130 interrupted.
    """


def build() -> Any:
    """All commands as one; no torch is imported here."""
    from ncollapse.cli.advise import advise
    from ncollapse.cli.check import check
    from ncollapse.cli.compare import compare
    from ncollapse.cli.demo import demo
    from ncollapse.cli.doctor import doctor
    from ncollapse.cli.dress import dress
    from ncollapse.cli.explain import explain
    from ncollapse.cli.measure import measure
    from ncollapse.cli.predict import predict
    from ncollapse.cli.report import report
    from ncollapse.cli.study import application as study
    from ncollapse.cli.weights import weights

    app = typer.Typer(
        name="ncollapse",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_top)
    for function in (
        demo,
        measure,
        weights,
        predict,
        compare,
        report,
        check,
        advise,
        explain,
        doctor,
    ):
        app.command()(function)
    app.add_typer(study(), name="study", help="Put published claims to the test.")
    command = typer.main.get_command(app)
    _add(command, _debug())
    dress(command)
    return command


def _debug() -> Any:
    """The option --debug; `main` looks for it, so that no command has to."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def _(
        debug: Annotated[
            bool, typer.Option(DEBUG, expose_value=False, help="Show the traceback of an error.")
        ] = False,
    ) -> None: ...

    command = typer.main.get_command(app)
    return next(option for option in command.params if DEBUG in option.opts)


def _add(command: Any, option: Any) -> None:
    """Add an option to a command, or to every command of a group."""
    inner = getattr(command, "commands", None)
    if inner is None:
        command.params.append(option)
        return
    for each in inner.values():
        _add(each, option)
