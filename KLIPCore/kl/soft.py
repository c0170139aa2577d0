"""Where a lesion can be: soft tissue, seen in the reconstruction itself.

Bodies differ most in their fat. A prior that expected muscle or bowel where this patient has fat is pushed
darker there by 100 HU and more, over large places, and those pushes crowd out a lesion's 30 to 70 HU. But fat
is no lesion of soft tissue, and the reconstruction says which is which: fat lies below −60 HU, fluid at 0,
lesions above. So a *share* between 0 and 1 goes with every pixel,

    share = 0 below −60 HU,   1 above 0 HU,   linear between,

of the reconstruction, blurred by a little against its noise,

and pushes are multiplied by it before anything is squared. Like the sign (:mod:`KLIPCore.kl.signed`) this is
knowledge about lesions, put in by hand: what consists of fat or gas (a lipoma, an abscess full of gas) has
share 0 and is never found by a score that uses it.
"""

from __future__ import annotations

from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.kl.signed import gaussian_blur

BLUR_PX = 1.5
"""Standard deviation in frame pixels of the blur before the share is taken: some 2 mm, against streaks and noise."""


def soft_share(image: Tensor, none: float, full: float) -> Tensor:
    """Return the share of soft tissue in each pixel, of the image's shape (..., H, W).

    Parameters
    ----------
    image : reconstruction in windowed intensity.
    none, full : intensity up to which the share is 0, and from which it is 1.

    Raises
    ------
    ConfigError : the two are in the wrong order.
    """
    if not none < full:
        raise ConfigError(
            f"Soft tissue cannot begin at {none:g} and be full at {full:g}.", "Give the lower level first."
        )
    return ((gaussian_blur(image, BLUR_PX) - none) / (full - none)).clamp(0, 1)
