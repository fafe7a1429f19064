"""``chainzoom models``: which weights there are, under which licence, whether they are here; fetch and verify them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from chainzoom.cli.columns import aligned
from chainzoom.errors import OptionError
from chainzoom.models import Model, Store, all_models, find_model, names_in
from chainzoom.models.fetch import fetch as fetch_model
from chainzoom.models.verify import verify as verify_model
from chainzoom.presets import builtin_names, load_preset

_INTERRUPTED = 130


def weights_dir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--weights-dir`` for any command; its value is a Path or None."""
    return click.option(
        "--weights-dir",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Folder with weights.  [default: $CHAINZOOM_WEIGHTS, else the user's data folder]",
    )(command)


@click.group(invoke_without_command=True)
@weights_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def models(ctx: click.Context, weights_dir: Path | None, as_json: bool) -> None:
    """List the weights that presets use: size, licence, where they go, whether they are here."""
    ctx.obj = weights_dir
    if ctx.invoked_subcommand is not None:
        return
    rows = describe_models(Store.at(weights_dir))
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    head = ("model", "here", "size", "terms", "for presets")
    cells = [(row["name"], row["state"], row["size_text"], row["terms"], ", ".join(row["presets"]) or "-") for row in rows]
    for line in aligned([head, *cells]):
        click.echo(line)
    for row in rows:
        click.echo(f"\n{row['name']}: {row['title']}{' (gated)' if row['gated'] else ''}")
        click.echo(f"  {row['licence']}")
        click.echo(f"  {'at' if row['state'] == 'here' else 'goes to'} {row['path']}")


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--accept-licence", is_flag=True, help="Accept the licences without being asked.")
@weights_dir_option
@click.pass_context
def fetch(ctx: click.Context, names: tuple[str, ...], accept_licence: bool, weights_dir: Path | None) -> None:
    """Download weights; an interrupted download goes on where it stopped.

    Every file is checked against its published SHA-256, or the one that the server announces; where there is neither, the first download
    is trusted, recorded in weights.lock.json, and demanded from then on. The token for gated weights is read from HF_TOKEN.
    """
    store = Store.at(weights_dir or ctx.obj)
    chosen = [find_model(name) for name in dict.fromkeys(names)]
    wanted = [model for model in chosen if not _here(model, store)]
    _ask(wanted, accept_licence)
    try:
        for model in wanted:
            _fetch_one(model, store)
    except KeyboardInterrupt:
        click.echo("chainzoom: interrupted; the same command goes on from here", err=True)
        ctx.exit(_INTERRUPTED)


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@weights_dir_option
@click.pass_context
def verify(ctx: click.Context, names: tuple[str, ...], weights_dir: Path | None) -> None:
    """Hash the weights that are here again and compare; exit code 1 when a file is damaged or missing."""
    store, damaged, seen = Store.at(weights_dir or ctx.obj), [], 0
    for model in [find_model(name) for name in names] or list(all_models().values()):
        verdicts = list(verify_model(model, store))
        if not verdicts and names:
            click.echo(f"{model.name}: not here; chainzoom models fetch {model.name}")
        for verdict in verdicts:
            against = f" ({verdict.against})" if verdict.against else ""
            click.echo(f"{verdict.model}/{verdict.path}: {verdict.state}{against}")
        seen += len(verdicts)
        if any(verdict.bad for verdict in verdicts):
            damaged.append(model.name)
    if damaged:
        click.echo(f"chainzoom: {', '.join(damaged)} must come again: delete the damaged files, then chainzoom models fetch NAME", err=True)
        ctx.exit(1)
    if not seen and not names:
        click.echo(f"no weights in {store.weights_dir} or {store.hub_cache}")


def describe_models(store: Store) -> list[dict[str, Any]]:
    """The catalogue as plain data, with what is here and which shipped presets want it."""
    presets = [load_preset(name) for name in builtin_names()]
    rows = []
    for model in all_models().values():
        found = store.locate(model)
        users = [p.name for p in presets if model.name in names_in({"b": p.backbone_options, "p": p.prompter_options})]
        rows.append(
            {
                "name": model.name,
                "title": model.title,
                "state": found.state,
                "path": str(found.folder),
                "place": found.place,
                "missing": list(found.missing),
                "size": model.size or None,
                "size_at_least": model.size_at_least,
                "size_text": size_text(model),
                "terms": model.terms,
                "licence": model.licence,
                "licence_url": model.licence_url,
                "gated": model.gated,
                "source": model.source,
                "repository": model.repository,
                "revision": model.revision,
                "files": list(model.files),
                "presets": users,
            }
        )
    return rows


def size_text(model: Model) -> str:
    """``15.5 GB``, ``> 2.1 GB`` when some files' sizes are not known, or ``unknown``."""
    if not model.size:
        return "unknown"
    return f"{'> ' if model.size_at_least else ''}{model.size / 1e9:.1f} GB"


def _here(model: Model, store: Store) -> bool:
    """Say so when a complete copy is in the hub's cache, or in the weights folder with every file recorded."""
    found = store.locate(model)
    if found.complete and (found.place == "hub cache" or not store.unrecorded(model)):
        click.echo(f"{model.name}: already here, {found.folder} ({found.place})")
        return True
    return False


def _ask(wanted: list[Model], accepted: bool) -> None:
    """Show the licences and ask, unless they are accepted already. Raises OptionError when nobody can be asked, or the answer is no."""
    for model in wanted:
        click.echo(f"{model.name}: {model.title}, size {size_text(model)}\n  licence: {model.notice}")
    if accepted or not wanted:
        return
    if not sys.stdin.isatty():
        raise OptionError("the licences above must be accepted, and nobody can be asked here; read them and add --accept-licence")
    if not click.confirm("Accept these licences and download?", default=False):
        raise OptionError("the licences were not accepted; nothing was downloaded")


def _fetch_one(model: Model, store: Store) -> None:
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(model.name, total=None)

        def tell(path: str, done: int, size: int) -> None:
            bar.update(task, description=f"{model.name}/{path}", completed=done, total=size or None)

        for file in fetch_model(model, store, tell=tell):
            how = "fetched" if file.fresh else "was here"
            click.echo(f"{model.name}/{file.path}: {how}, SHA-256 {file.locked.sha256} ({file.locked.trust})")
    click.echo(f"{model.name}: {store.folder(model)}")
