"""The pictures a person looks at after a run: ``strip.png``, ``zoom.mp4`` and ``index.html``.

frames.py              what a finished run hands over: Frame, RunSummary, and how figures are worded
strip.py, lettering.py labelled states side by side
camera.py, film.py     where the film's camera is, what it sees, and the video file
page.py, chart.py      the self-contained report, with page.html
"""

from chainzoom.report.film import render_film
from chainzoom.report.frames import Frame, RunSummary
from chainzoom.report.page import render_page
from chainzoom.report.strip import render_strip

__all__ = ["Frame", "RunSummary", "render_film", "render_page", "render_strip"]
