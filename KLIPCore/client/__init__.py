"""Run a detection here or on a server, through one interface and with Python's standard library alone.

:class:`KLIPCore.client.detector.Detector` is that interface. :class:`KLIPCore.client.local.LocalDetector` starts
`klip` in a process of its own on this computer; :class:`KLIPCore.client.remote.RemoteDetector` sends the study to a
`klip serve` and brings the same output folder back. Nothing in here needs torch, numpy or any other package: a viewer
imports it as it is.
"""
