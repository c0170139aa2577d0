"""The registering half of Slicer's Sample Data module: the same signatures, the same errors."""

from __future__ import annotations

from typing import Any

import slicer


def _each(value: Any, n: int) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] * n


class SampleDataSource:
    """A data set that is offered. ``uris`` must be text or a list, also where a function of one's own does
    the downloading.
    """

    def __init__(
        self,
        sampleName: str | None = None,
        sampleDescription: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        checksums: Any = None,
        loadFiles: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFileProperties: dict[str, Any] | None = None,
        loadFileType: Any = None,
    ) -> None:
        if loadFileType is not None and loadFileTypes is not None:
            raise ValueError("loadFileType and loadFileTypes cannot be specified at the same time")
        self.sampleName, self.customDownloader, self.thumbnailFileName = (
            sampleName,
            customDownloader,
            thumbnailFileName,
        )
        self.uris = [uris] if isinstance(uris, str) else uris
        n = len(self.uris)  # a TypeError for None, as in Slicer
        given = (fileNames, nodeNames, checksums, loadFiles, loadFileTypes or loadFileType)
        fields = [[value] if isinstance(uris, str) else _each(value, n) for value in given]
        if any(len(field) != n for field in fields):
            raise ValueError("All fields of sample data source must have the same length")
        self.fileNames, self.nodeNames, self.checksums, self.loadFiles, self.loadFileTypes = fields


class SampleDataLogic:
    """Where modules register what they offer."""

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        """Give a category its title (Slicer 5.11 and later)."""
        if not hasattr(slicer.modules, "sampleDataSourceCategories"):
            slicer.modules.sampleDataSourceCategories = {}
        slicer.modules.sampleDataSourceCategories[category] = {"title": title}

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: dict[str, Any] | None = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        """Offer a data set in a category."""
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
            customDownloader=customDownloader,
        )
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        slicer.modules.sampleDataSources.setdefault(category, []).append(source)
