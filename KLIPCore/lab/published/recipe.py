"""The published recipes by name: blocks, windows, and what their step indices mean in σ.

The paper's three back ends, with the numbers of its configuration files. A window there is a range of recorded
steps; here it can be read in noise levels, in which windows of different samplers and schedules compare
(docs/method.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.sampling.ddpm import linear_alpha_bar, sigma_of
from KLIPCore.sampling.schedule import geometric, karras

Task = Literal["localization", "detection"]


@dataclass(frozen=True)
class Recipe:
    """One published recipe.

    Attributes
    ----------
    name : what it is asked for by.
    backend : function that samples and records.
    n_recorded : T of the published record.
    block : edge of a block in pixels.
    image_size : of the published images.
    n_views : projections that are really used, None where nothing is projected.
    windows : [t₀, t₁) of recorded steps by task, for the published T.
    divided_by : what updates are divided by.
    """

    name: str
    backend: str
    n_recorded: int
    block: int
    image_size: int
    n_views: int | None
    windows: dict[Task, tuple[int, int]]
    divided_by: str

    def window(self, task: Task, n_recorded: int | None = None) -> tuple[int, int]:
        """Return [t₀, t₁) of a record of ``n_recorded`` steps over the same noise levels: the published one, scaled.

        At least one step.

        Raises
        ------
        ConfigError : the recipe has no such task.
        """
        if task not in self.windows:
            raise ConfigError(
                f"The recipe {self.name} has no window for {task}.", f"Choose from {', '.join(self.windows)}."
            )
        n = n_recorded or self.n_recorded
        start, end = (round(t * n / self.n_recorded) for t in self.windows[task])
        start = min(start, n - 1)
        return start, max(end, start + 1)

    def sigmas(self) -> NDArray[np.float64]:
        """Return the (T,) noise levels of the published recorded steps, in the unit of images in 0..1."""
        if self.name == "ve-projection":
            return geometric(128.0, 0.01, 999)[::10]
        if self.name == "padis":
            return karras(10.0, 0.003, 99)
        return sigma_of(linear_alpha_bar())[990::-10] / 2

    def sigma_window(self, task: Task) -> tuple[float, float]:
        """Return the (lo, hi): σ of the last and first recorded step of a published window."""
        start, end = self.window(task)
        levels = self.sigmas()
        return float(levels[end - 1]), float(levels[start])


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "ve-projection",
            "KLIPCore.lab.published.ve_projection.sample_ve_projection",
            100,
            32,
            512,
            23,
            {"localization": (65, 85), "detection": (35, 40)},
            "σ √(2 ln(σ_max/σ_min))",
        ),
        Recipe(
            "padis", "KLIPCore.lab.published.padis.sample_padis", 100, 2, 256, 24, {"localization": (65, 85)}, "√σ"
        ),
        Recipe(
            "ddpm",
            "KLIPCore.lab.published.ddpm.sample_ddpm",
            100,
            1,
            256,
            None,
            {"localization": (65, 85)},
            "√β of the 1000-step schedule",
        ),
    )
}
"""The published recipes by name."""
