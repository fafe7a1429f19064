"""``chainzoom study``: pages for raters, and what their answers say."""

from __future__ import annotations

from pathlib import Path

import click

from chainzoom.evaluation.study.answers import find_key, load_answers, load_key
from chainzoom.evaluation.study.make import KEY, make_study
from chainzoom.evaluation.study.score import score_study
from chainzoom.evaluation.study.write import markdown, write_results


@click.group()
def study() -> None:
    """Ask people: a page for blinded raters, and the analysis of their answers."""


@study.command("make")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--raters", type=int, default=25, show_default=True, help="How many people are invited; each has a code and an order.")
@click.option("--image-sets", type=int, default=5, show_default=True, help="Scenes whose pictures are scored.")
@click.option("--text-sets", type=int, default=5, show_default=True, help="Scenes whose words are scored.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides scenes, orders and codes.")
@click.option("--title", default="Picture study", show_default=True, help="Shown to the raters.")
@click.option("--quality", type=int, help="Compress the pictures with loss, 1 to 100.  [default: every pixel is kept]")
@click.option("--separate", is_flag=True, help="One file a rater instead of one file for all.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [default: RESULTS/study]")
@click.option("--overwrite", is_flag=True, help="Replace an earlier study in the same folder.")
def make(
    results: Path,
    raters: int,
    image_sets: int,
    text_sets: int,
    seed: int,
    title: str,
    quality: int | None,
    separate: bool,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Build a study of the methods in RESULTS: runs of `chainzoom zoom`, or pictures listed in manifest.json.

    The page needs no server: raters open it, score with keys 1 to 5, and send back the file that they get at the end.
    """
    folder = out or results / "study"
    made, paths, notes = make_study(
        results,
        folder,
        raters=raters,
        image_sets=image_sets,
        text_sets=text_sets,
        seed=seed,
        title=title,
        quality=quality,
        separate=separate,
        overwrite=overwrite,
    )
    for note in notes:
        click.echo(note, err=True)
    methods = sorted({method for one in made.sets for item in one.items for method in item.methods})
    counts = {kind: sum(one.kind == kind for one in made.sets) for kind in ("image", "text")}
    size = paths[0].stat().st_size / 1e6
    click.echo(f"{counts['image']} image sets, {counts['text']} text sets, {len(methods)} methods: {', '.join(methods)}", err=True)
    click.echo(f"{len(made.raters)} raters; a page has {size:.1f} MB; keep {KEY} to yourself", err=True)
    for path in paths if len(paths) <= 6 else [paths[0].parent, *paths[-2:]]:
        click.echo(path)


@study.command("score")
@click.argument("answers", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--key", type=click.Path(path_type=Path), help="The study's key.json.  [default: beside the answers or one folder up]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for study.md, study.json and study.svg.  [default: the key's folder]")
def score(answers: tuple[Path, ...], key: Path | None, out: Path | None) -> None:
    """Means, intervals, paired tests and agreement between raters from ANSWERS, the raters' files.

    Files that are damaged, unfinished, repeated or of another study are named and left out.
    """
    files = [file for file in answers if file.name != KEY]
    where = key or find_key(files or list(answers))
    known = load_key(where)
    counted, refused = load_answers(files, known)
    for one in refused:
        click.echo(f"refused {one.file}: {one.kind}, {one.reason}", err=True)
    result = score_study(known, counted, refused)
    paths = write_results(result, out or where.parent)
    click.echo(markdown(result))
    for path in paths:
        click.echo(path, err=True)
