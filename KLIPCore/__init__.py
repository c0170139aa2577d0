"""KLIPCore: where does a scan depart from healthy anatomy? KL maps in nats from diffusion priors.

Research software, not a medical device. Start at :func:`KLIPCore.detection.detect.detect`.
"""

__version__ = "0.1.0"
