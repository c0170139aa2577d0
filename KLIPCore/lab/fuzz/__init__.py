"""Break the readers on purpose, and count what happens.

``python -m KLIPCore.lab.fuzz`` gives thousands of damaged or hostile files to every reader
(:mod:`KLIPCore.lab.fuzz.readers`); ``python -m KLIPCore.lab.fuzz.faults`` kills, starves and misleads whole
runs. Both print counts, which docs/reliability.md keeps.
"""
