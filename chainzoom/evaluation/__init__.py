"""Measuring what a zoom made: metrics, tables, a user study, and how far samples agree."""
