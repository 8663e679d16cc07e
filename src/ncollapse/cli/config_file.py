"""--config FILE: options of a command from TOML; what the command line says wins."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ncollapse.record.command import MARK, toml

COMMANDS = ("measure", "weights", "predict", "demo")
# How a command is run, not what it does.
MANNERS = (
    "json", "output", "quiet", "verbose", "resume", "config", "debug", "dry_run", "show", "help",
)  # fmt: skip


def option() -> Any:
    """The option --config, which is read before all others."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def _(
        config: Annotated[
            Path | None,
            typer.Option(
                "--config",
                callback=_read,
                is_eager=True,
                expose_value=False,
                help="TOML file of options, as config.toml of a run folder; the line wins.",
            ),
        ] = None,
    ) -> None: ...

    command = typer.main.get_command(app)
    return next(each for each in command.params if "--config" in each.opts)


def _read(context: Any, value: Path | None) -> Path | None:
    if value is not None and not context.resilient_parsing:
        found = options_of(value, context.command, str(context.info_name))
        context.default_map = {**(context.default_map or {}), **found}
    return value


def options_of(path: Path, command: Any, name: str) -> dict[str, Any]:
    """The options of a command in a file: the table of its name, or the top level.

    Raises ValueError for a file that is missing or no TOML, for an option that the command does not
    have (with the nearest that it has), and for a value that an option cannot have.
    """
    if not path.is_file():
        raise ValueError(f"--config {path} does not exist; a TOML file is needed")
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path} is no TOML ({error}); see a run's config.toml") from None
    tables = {key for key, value in data.items() if isinstance(value, Mapping)}
    if name in tables:
        data = data[name]
    elif tables & set(COMMANDS):
        others = ", ".join(sorted(tables & set(COMMANDS)))
        raise ValueError(f"--config {path} is of {others}, not of {name}; pass it to that command")
    known = _known(command)
    found: dict[str, Any] = {}
    for key, value in data.items():
        plain = key.replace("-", "_")
        if plain not in known:
            near = difflib.get_close_matches(plain, known, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"see ncollapse {name} --help"
            raise ValueError(f"--config {path}: {name} has no option {key!r}; {hint}")
        param = known[plain]
        found[param.name] = _value(path, key, value, param)
    return found


def text_of(name: str, command: Any, context: Any) -> str:
    """The config.toml that repeats a command: what was given, and the defaults as comments."""
    given: list[str] = []
    usual: list[str] = []
    for param in command.params:
        if param.name in MANNERS or param.name not in context.params:
            continue
        value = context.params[param.name]
        source = context.get_parameter_source(param.name)
        nothing = value is False or value in ([], ())
        if value is None or (nothing and _is_default(source)):
            continue
        text = f"{_label(param)} = {toml(value)}"
        (usual if _is_default(source) else given).append(text)
    lines = [
        f"{MARK} {name} --config config.toml repeats this run: paths are as they were given.",
        "",
    ]
    lines += [f"[{name}]", *given]
    if usual:
        lines += ["", "# Defaults of this version:", *(f"# {text}" for text in usual)]
    return "\n".join(lines) + "\n"


def _is_default(source: Any) -> bool:
    # By name: typer may stand on its own copy of click.
    return source is None or source.name == "DEFAULT"


def _label(param: Any) -> str:
    """What a file calls an option: its long name, or an argument's own."""
    long = [opt for opt in param.opts if opt.startswith("--")]
    return (long[0].removeprefix("--") if long else param.name).replace("-", "_")


def _known(command: Any) -> dict[str, Any]:
    found = {}
    for param in command.params:
        if param.name not in ("config", "debug", "help", "dry_run"):
            found[param.name] = param
            found[_label(param)] = param
    return found


def _value(path: Path, key: str, value: Any, param: Any) -> Any:
    several = getattr(param, "multiple", False) or param.nargs == -1
    listed = value if isinstance(value, list) else [value]
    if any(isinstance(one, (Mapping, list)) for one in listed) or (
        isinstance(value, list) and not several
    ):
        wanted = "a list of values" if several else "one value"
        raise ValueError(f"--config {path}: {key} is {value!r}; {wanted} is needed")
    if getattr(param, "is_flag", False):
        if not isinstance(value, bool):
            raise ValueError(f"--config {path}: {key} is {value!r}; true or false is needed")
        return value
    texts = [one if isinstance(one, bool) else str(one) for one in listed]
    return texts if several else texts[0]
