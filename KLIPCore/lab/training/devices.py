"""One process or many: the part of training that depends on how many computers' worth of devices there are.

One process on a CPU or a GPU needs nothing but PyTorch. Several are Hugging Face Accelerate's business: it
tells each its device and averages their gradients. They are started by ``accelerate launch --multi_gpu
--num_processes 4 -m KLIPCore.cli train …``, by ``torchrun --nproc_per_node 4 -m KLIPCore.cli train …``. In
spite of its name ``--multi_gpu`` is what starts several processes on CPUs too, together with ``--device cpu``;
``accelerate launch --cpu`` leaves that to MPI (``--mpirun_hostfile``) and without it starts one process,
whatever ``--num_processes`` says. Every process draws its own patches; the first one validates and writes.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from KLIPCore.errors import ConfigError, optional

WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Environment variables in which launchers say how many processes they started: PyTorch's, and three MPIs'
(Accelerate reads the same).
"""

RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
"""Environment variables in which the same launchers number these processes, from 0 on."""


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
        """Return what is called instead of the two."""
        return objective, optimiser

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of ``loss``, averaged over processes."""
        loss.backward()

    def mean(self, value: float) -> float:
        """Return ``value`` averaged over processes."""
        return value

    def any(self, flag: bool) -> bool:
        """Return whether ``flag`` is set in any process."""
        return flag

    def wait(self) -> None:
        """Return when every process has come here."""

    def part(self) -> None:
        """Leave the others for good; nothing above may be called afterwards."""


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
        """Compute the gradients of ``loss``, averaged over processes."""
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

    def part(self) -> None:
        """Close the connections between the processes.

        An interpreter that ends with them open aborts now and then: their threads outlive it.
        """
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def processes(device: torch.device) -> OneProcess:
    """Return how this process trains.

    Alone on ``device``, or as one of those that a launcher started (then on the device it is given).

    Raises
    ------
    ResourceError : several processes were started and Accelerate is not installed.
    ConfigError : several were asked for, and one was started.
    """
    if started_processes() < 2:
        alone = not any(name in os.environ for name in (*WORLD_SIZES, "LOCAL_RANK"))
        if (
            alone and "ACCELERATE_USE_CPU" in os.environ and "MASTER_PORT" in os.environ
        ):  # the launcher sets the latter when it was asked for several
            raise ConfigError(
                "'accelerate launch' was asked for several processes and started one.",
                "On CPUs write: accelerate launch --multi_gpu --num_processes N -m KLIPCore.cli train … --device "
                "cpu; or start them with torchrun.",
            )
        return OneProcess(device)
    return ManyProcesses(optional("accelerate", "train").Accelerator(cpu=device.type == "cpu"))


def is_first_process() -> bool:
    """Return whether this process is the one that speaks: the first that a launcher started, or the only one."""
    return next((int(os.environ[name]) for name in RANKS if name in os.environ), 0) == 0


def started_processes() -> int:
    """Return how many processes a launcher started, this one among them; 1 without a launcher."""
    return next((int(os.environ[name]) for name in WORLD_SIZES if name in os.environ), 1)
