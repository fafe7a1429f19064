"""``chainzoom train``: what can be trained."""

from __future__ import annotations

import click

from chainzoom.cli.train_pocket import pocket
from chainzoom.cli.train_pocket_data import pocket_data
from chainzoom.cli.train_pocket_shelf import pocket_shelf
from chainzoom.cli.train_prompts import prompts
from chainzoom.cli.train_sr import sr
from chainzoom.cli.train_surfaces import surfaces


@click.group()
def train() -> None:
    """Train the parts of a zoom; every run can be stopped, resumed and watched."""


train.add_command(sr)
train.add_command(prompts)
train.add_command(pocket)
train.add_command(pocket_data)
train.add_command(pocket_shelf)
train.add_command(surfaces)
