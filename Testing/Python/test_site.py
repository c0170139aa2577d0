"""The site of the documents: gallery scripts and tutorials run as they stand, made pages and links are right.

Sphinx itself, with warnings as errors, is `make docs`; what is tested here needs nothing of it.
"""

from __future__ import annotations

import importlib.util
import re
import runpy
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import numpy as np
import pytest
import torch

import KLIPCore as klip
from KLIPCore.lab.evaluation.config import EvaluationConfig
from KLIPCore.priors.stationary import StationaryGaussianPrior

mpl.use("agg")

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
EXAMPLES = sorted((REPOSITORY / "examples" / "gallery").glob("*.py"))


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_pages", DOCS / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_gallery_script_runs_and_draws(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    drawn: list[float] = []

    def show() -> None:
        for number in plt.get_fignums():
            figure = plt.figure(number)
            figure.canvas.draw()
            drawn.append(float(np.asarray(figure.canvas.buffer_rgba())[..., :3].std()))
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    runpy.run_path(str(path), run_name="__main__")
    assert drawn, "it shows no picture"
    assert min(drawn) > 10, "the picture is blank"


def test_gallery_scripts_have_a_title_and_a_name_that_is_run() -> None:
    assert len(EXAMPLES) >= 5
    for path in EXAMPLES:
        first, title, rule = path.read_text(encoding="utf-8").splitlines()[:3]
        assert (path.name[:5], first, len(rule)) == ("plot_", '"""', len(title)), path.name


def test_the_researchers_tutorial_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an exact prior in place of the network; what it does with a study is the README's snippet."""
    text = (DOCS / "tutorial_researcher.md").read_text(encoding="utf-8")
    prior = StationaryGaussianPrior.matern(torch.full((256, 256), 0.3), std=0.2, length=8.0)
    monkeypatch.setitem(vars(klip), "load_prior", lambda: prior)
    names: dict[str, object] = {}
    for snippet in re.findall(r"```python\n(.*?)```", text.split("## A study in Python")[0], re.DOTALL):
        exec(compile(snippet, "tutorial_researcher.md", "exec"), names)
    assert np.asarray(names["nats"]).shape == (32, 32)
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    study = re.findall(r"```python\n(.*?)```", text.split("## A study in Python")[1], re.DOTALL)[0]
    assert study in readme


def test_the_example_of_an_evaluation_can_be_read(tmp_path: Path) -> None:
    text = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    volumes, example = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert "kind: volumes" in volumes
    file = tmp_path / "eval_ours.yaml"
    file.write_text(example, encoding="utf-8")
    loaded = EvaluationConfig.load(file)
    assert loaded.patients == ["P01"]
    assert (loaded.organ_values, loaded.lesion_values) == ((1, 2), (2,))  # as the page says


def test_every_public_name_is_on_the_front_page_of_the_reference(pages: ModuleType) -> None:
    names = {name for _, group in pages.public_names() for name, _ in group}
    assert names == set(klip.__all__) - {"__version__"}
    page = pages.front_door()
    empty = [line for line in page.splitlines() if line.startswith("| {py:obj}") and line.endswith("|  |")]
    assert empty == []


def test_every_module_has_a_page_and_stands_in_a_table(pages: ModuleType) -> None:
    made = pages.reference()
    tables = "".join(text for name, text in made.items() if name.endswith(".md"))
    modules = [name.removesuffix(".rst") for name in made if name.endswith(".rst")]
    assert len(modules) > 100
    assert [name for name in modules if f"[{name}]({name}.rst)" not in tables] == []


def test_links_out_of_docs_lead_to_pages_of_the_site(pages: ModuleType) -> None:
    page = DOCS / "installation.md"
    text = "[a](../README.md#when-not-to-trust-it) [b](slicer.md) ![c](images/demo.png) [d](https://example.org/x)"
    assert pages.relinked(text, page, page) == (
        "[a](generated/readme.md#when-not-to-trust-it) [b](slicer.md) ![c](images/demo.png) [d](https://example.org/x)"
    )
    text = "[g](../examples/gallery) [n](../KLIPCore/__init__.py) [s](../examples/gallery/plot_5_cone_beam.py)"
    assert pages.relinked(text, page, page) == (
        "[g](gallery/index.rst) [n](generated/api/index.md) [s](gallery/plot_5_cone_beam.rst)"
    )
    readme = pages.relinked("[m](docs/method.md)", REPOSITORY / "README.md", pages.GENERATED / "readme.md")
    assert readme == "[m](../method.md)"


@pytest.mark.parametrize(
    ("line", "escaped"),
    [
        ("max |s² ∇²G_s * x| over s", r"max \|s² ∇²G_s \* x\| over s"),
        ("``a|b*`` and *yes*", "``a|b*`` and *yes*"),
        ("----------", "----------"),
    ],
)
def test_mathematics_in_docstrings_is_not_markup(pages: ModuleType, line: str, escaped: str) -> None:
    assert pages.literal(line) == escaped
