"""One process or many: the part of training that depends on how many computers' worth of devices there are.

One process on a CPU or a GPU needs nothing but PyTorch. Several are Hugging Face Accelerate's business: it tells each its device and
averages their gradients. They are started by ``accelerate launch --multi_gpu --num_processes 4 -m KLIPCore.cli train …``, or by
``torchrun --nproc_per_node 4 -m KLIPCore.cli train …``, which can do so without a GPU too. Every process draws its own
patches; the first one validates and writes.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from KLIPCore.extras import optional


class OneProcess:
    """Training in this process alone.

    Parameters
    ----------
    device : where the network lives.
    """

    rank, n = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def is_main(self) -> bool:
        """Whether this process validates and writes."""
        return self.rank == 0

    def prepare(self, objective: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
        """What is called instead of the two."""
        return objective, optimiser

    def backward(self, loss: Tensor) -> None:
        """Gradients of ``loss``, averaged over processes."""
        loss.backward()

    def mean(self, value: float) -> float:
        """``value`` averaged over processes."""
        return value

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set in any process."""
        return flag

    def wait(self) -> None:
        """Return when every process has come here."""


class ManyProcesses(OneProcess):
    """Training in the processes that ``accelerate launch`` started, this being one of them.

    Parameters
    ----------
    accelerator : of this process.
    """

    def __init__(self, accelerator: Any) -> None:
        super().__init__(accelerator.device)
        self.accelerator = accelerator
        self.rank, self.n = accelerator.process_index, accelerator.num_processes

    def prepare(self, objective: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
        """See :meth:`OneProcess.prepare`."""
        wrapped: tuple[nn.Module, Any] = self.accelerator.prepare(objective, optimiser)
        return wrapped

    def backward(self, loss: Tensor) -> None:
        """See :meth:`OneProcess.backward`."""
        self.accelerator.backward(loss)

    def mean(self, value: float) -> float:
        """See :meth:`OneProcess.mean`."""
        return float(self.accelerator.reduce(torch.tensor(value, device=self.device), "mean"))

    def any(self, flag: bool) -> bool:
        """See :meth:`OneProcess.any`."""
        return self.mean(float(flag)) > 0

    def wait(self) -> None:
        """See :meth:`OneProcess.wait`."""
        self.accelerator.wait_for_everyone()


def processes(device: torch.device) -> OneProcess:
    """How this process trains: alone on ``device``, or as one of those that a launcher started (then on the device it is given).

    Raises
    ------
    ResourceError : several processes were started and Accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return OneProcess(device)
    return ManyProcesses(optional("accelerate", "train").Accelerator(cpu=device.type == "cpu"))
