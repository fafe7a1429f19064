"""``chainzoom zoom --samples``: the same zoom from several seeds, and what their agreement says."""

from __future__ import annotations

import json

import click

from chainzoom.cli.progress import Progress
from chainzoom.evaluation.sampling import RECORD, compare, sample_jobs
from chainzoom.jobs import ZoomJob


def zoom_samples(job: ZoomJob, count: int, *, no_report: bool, as_json: bool) -> None:
    """Run ``job`` from ``count`` seeds, write the maps and print a verdict a scale. Raises as ``sample_jobs`` and ``compare`` do."""
    folder = job.request.out
    jobs = sample_jobs(job, count)
    with Progress(quiet=as_json) as progress:
        progress.line(f"{count} samples of {len(job.plan)} states, seeds {jobs[0].request.seed} to {jobs[-1].request.seed}")
        for number, sample in enumerate(jobs, 1):
            progress.line(f"sample {number} of {count}, seed {sample.request.seed}")
            progress.start("zooming", len(sample.plan))
            for step, fresh in sample.steps():
                progress.state(step, fresh)
        progress.start("comparing", len(job.plan))
        said = [line for _, line in compare(folder, [sample.request.out for sample in jobs])]
        paths = [] if no_report else job.report(progress.film)
    if as_json:
        click.echo(json.dumps(json.loads((folder / RECORD).read_text(encoding="utf-8")), ensure_ascii=False, indent=2))
        return
    for line in said:
        click.echo(line)
    for path in [folder / "agreement", folder / RECORD, *paths]:
        click.echo(path)
