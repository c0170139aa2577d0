"""Sphinx's configuration of the site that `make docs` builds: MyST pages, numpydoc docstrings, a gallery.

Nothing is downloaded. Pages that are not written by hand (the API reference, the documents of the repository's root,
the model cards) come from docs/site_pages.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import site_pages  # noqa: E402

from KLIPCore import __version__  # noqa: E402

project = "KLIPSlicer"
author = copyright = "KLIPSlicer contributors"
release = version = __version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build", "**/GALLERY_HEADER.rst"]
html_theme = "furo"
html_title = f"KLIPSlicer {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"source_repository": "https://github.com/KLIPSlicer/SlicerKLIP/", "source_branch": "main"}
html_show_sourcelink = False

myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections say the types, with shapes and units
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf: dict[str, Any] = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "download_all_examples": False,
    "remove_config_comments": True,
    "min_reported_time": 1e9,
    "show_memory": False,
    "plot_gallery": "True",
    "abort_on_example_error": True,
    "write_computation_times": False,
    "within_subsection_order": "FileNameSortKey",
}


def setup(app: Any) -> None:
    """Write the pages that nobody writes by hand, and lead links between documents to the site's pages."""
    site_pages.write(HERE)
    app.connect("source-read", site_pages.lead_links)
    app.connect("autodoc-skip-member", site_pages.left_out)
    app.connect("autodoc-process-docstring", site_pages.plain_text, priority=400)
