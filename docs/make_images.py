"""The README's picture, taken from the demo's report: `make docs-images`.

docs/images/demo.png is the first key slice of demo/report.html: the synthetic patient's CT, its
reconstruction, and the CT with its KL map and regions. docs/images/gaussian_truth.png is drawn by
examples/01_gaussian_truth.py.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write docs/images/demo.png."""
    page = (REPOSITORY / "demo" / "report.html").read_text(encoding="utf-8")
    first = re.search(r'src="data:image/\w+;base64,([^"]+)"', page)
    assert first, "the demo's report shows no slice"
    with Image.open(io.BytesIO(base64.b64decode(first[1]))) as picture:
        picture.save(REPOSITORY / "docs" / "images" / "demo.png", optimize=True)


if __name__ == "__main__":
    main()
