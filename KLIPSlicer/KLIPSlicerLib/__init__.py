"""The parts of the KLIPSlicer module; one noun a file."""
