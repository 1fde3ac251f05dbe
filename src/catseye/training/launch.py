"""`catseye train --nproc N`: N processes of the same command on this machine.

Enters: N and the command line. Leaves: an exit code. Called by cli. The processes are started, watched and, where
allowed, restarted by torch's elastic agent, the one behind `torchrun`; several machines need torchrun itself.
"""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from catseye.errors import TrainingError
from catseye.machine.cores import num_cores

ME = "127.0.0.1"


def without_launch_options(words: Sequence[str]) -> list[str]:
    """The command line of each process: the same without --nproc and --max-restarts.

    >>> without_launch_options(["train", "digits", "--nproc", "2", "--max-restarts=1", "--json"])
    ['train', 'digits', '--json']
    """
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in ("--nproc", "--max-restarts"):
            skip = True
        elif not word.startswith(("--nproc=", "--max-restarts=")):
            kept.append(word)
    return kept


def launch(num_processes: int, max_restarts: int, words: Sequence[str]) -> int:
    """Run `catseye WORDS` in this many processes and return their exit code.

    After a signal, it is 128 + its number.

    A SIGTERM or Ctrl-C is passed to all processes, which have 30 s to save and stop. When one ends with an
    error the others are ended, and all are restarted up to `max_restarts` times.

    Raises:
        TrainingError: a process was killed and could not report it.

    """
    if "--debug" not in words:
        logging.disable()  # the processes report errors themselves; the agent's log is for debugging it
    # Otherwise every process would use as many threads as the machine has cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // num_processes)))
    # The agent's own store would give a restarted process the addresses of dead ones (pytorch issue 135712).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{ME}:0",
        local_addr=ME,
        max_restarts=max_restarts,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-u", "-m", "catseye", *without_launch_options(words))
    except SignalException as stopped:
        return 128 + stopped.sigval.value
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        error = TrainingError(
            f"process {rank} of {num_processes} was ended by {signal.Signals(-failure.exitcode).name}; if memory ran "
            "out, use a smaller training.batch_size; continue with --resume RUN, or allow --max-restarts 3"
        )
        error.exit_code = 128 - failure.exitcode
        raise error from None
    return 0
