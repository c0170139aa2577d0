"""`klip serve`: a department's computer with a GPU examines the studies that others send.

::

    claim (sizes, hashes, settings) → files, piece by piece → queue → `klip detect` in a process of its own
          → events as they happen → the run's folder, file by file

A job is named by the hash of its study and settings, so the same study sent twice is one job. All state lies on the
disk (:mod:`KLIPCore.server.jobs`): a server that is stopped, or dies, goes on where it was. The address of each step
is in :mod:`KLIPCore.server.app`, who may come in is decided by :mod:`KLIPCore.server.gate`.
"""
