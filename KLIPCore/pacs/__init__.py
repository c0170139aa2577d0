"""Studies out of a PACS and results into it, without disturbing its work by day.

::

    pace      rate limit and quiet hours
    uids      names for logs and files that say nothing about a patient
    keep      instances as they come → whole files in a folder
    peers     who is spoken to, and as whom
    tls       certificates of both sides
    find      C-FIND: which study, and how much of it there should be
    fetch     C-GET, C-MOVE → one study in a folder, whole or not at all
    send      C-STORE
    listen    a C-STORE listener
    web       the same by DICOMweb: QIDO, WADO, STOW

DICOM's own protocol is spoken by pynetdicom, DICOMweb by dicomweb-client: the extra ``pacs`` installs both.
"""
