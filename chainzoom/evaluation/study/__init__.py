"""A user study of several methods: pages for the raters, and what their answers say.

collect.py      what the methods made of each photo, read from run folders or from a manifest
design.py       who sees what in which order: sets, blinded items, rater codes
make.py         the page (page.html, page.css, page.js) with its pictures, the links, the key
answers.py      reading answer files; refusing damaged, unfinished and repeated ones by name
agreement.py    Krippendorff's alpha
comparisons.py  means with intervals, pairwise tests, Holm's correction
score.py        from answers to results; write.py puts them into Markdown, JSON and SVG
"""
