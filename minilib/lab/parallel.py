"""How the work of a step of `fit` is divided: by rows, over parts and over processes.

One process takes the parts of a batch in turn. Under torchrun each process takes its share of them,
and torch's own engines exchange what must be exchanged: DistributedDataParallel the gradients of
whole models; fully_shard (FSDP2) gives each process a piece of every parameter, of its gradient and
of what the optimiser knows of it.
"""

import contextlib
import copy
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from minilib.compare import leaves_of, map_leaves


@contextlib.contextmanager
def team(device: torch.device) -> Iterator[tuple[int, int]]:
    """(rank, world size), joining the process group of torchrun for as long as training lasts."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield 0, 1
        return
    mine = not distributed.is_initialized()
    if mine:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        with warnings.catch_warnings():  # of a gradient that DDP must copy: no news to a user
            warnings.filterwarnings("ignore", "Grad strides do not match")
            yield distributed.get_rank(), distributed.get_world_size()
    finally:
        if mine:
            distributed.destroy_process_group()


def share(batch: Any, first: int, step: int, device: torch.device) -> tuple[Any, float]:
    """Rows first, first + step, ... of a batch, and what part of all its rows they are.

    batch  a tensor or a nested tuple of tensors, rows first
    Raises ValueError if there are fewer rows than `step`, or tensors of different lengths.
    """
    counts = {len(leaf) for _, leaf in leaves_of(batch)}
    rows = max(counts)
    if step > 1 and len(counts) > 1:
        raise ValueError(
            f"tensors of a batch must have one number of rows to be divided, got {sorted(counts)}"
        )
    if rows < step:
        raise ValueError(
            f"a batch must have a row for each part of each process, {step} in all, got {rows}"
        )
    part = map_leaves(lambda tensor: tensor[first::step].to(device), batch)
    return part, len(range(first, rows, step)) / rows


class Engine:
    """A model and its optimiser, AdamW, as this process trains them.

    whole  the caller's model, whole on every process
    model  what is trained: the same or, if sharded, a copy in pieces, which `collect` brings back
    """

    def __init__(self, whole, rank, world, shard, device, lr, weight_decay):
        self.rank, self.world, self.sharded, self.device = rank, world, shard, device
        self.whole, self.model = whole, copy.deepcopy(whole) if shard else whole
        self.call = _Call(self.model)
        if shard:
            _shard(self.call, world, device)
        elif world > 1:  # it also sends the first process's numbers to all
            self.call = DistributedDataParallel(self.call, find_unused_parameters=True)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay
        )

    def gradients(self, loss, batch, accumulate: int, clip: float) -> tuple[float, float]:
        """Leave the batch's gradient, clipped, in the parameters: (loss, norm of the gradient)."""
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for turn in range(accumulate):
            first, parts = self.rank * accumulate + turn, self.world * accumulate
            part, weight = share(batch, first, parts, self.device)
            with self._quiet(turn < accumulate - 1):
                value = self.call(loss, part) * weight
                (value * self.world).backward()  # the engines take the mean over processes
            total = total + value.detach()
        norm = nn.utils.clip_grad_norm_(self.parameters, clip)
        return self.sum(total), float(_whole(norm))

    def _quiet(self, more):
        """Whole gradients are exchanged once for all parts; pieces cannot wait for that."""
        if more and isinstance(self.call, DistributedDataParallel):
            return self.call.no_sync()
        return contextlib.nullcontext()

    def sum(self, value) -> float:
        """A number, summed over the processes."""
        if self.world > 1:
            value = torch.as_tensor(value, dtype=torch.float64, device=self.device)
            distributed.all_reduce(value)
        return float(value)

    def finite(self) -> bool:
        """Whether all trained parameters are."""
        pieces = [p.to_local() if self.sharded else p for p in self.parameters]
        return self.sum(sum(not piece.isfinite().all() for piece in pieces)) == 0

    def take_step(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()

    def score(self, validate: Callable) -> float:
        """What `validate` says of the model in evaluation mode."""
        self.model.eval()
        if self.sharded:  # its pieces are put together during a call alone
            value = float(self.call(validate))
            self.call.reshard()
        else:
            value = float(validate(self.model))
        self.model.train()
        return value

    def state(self) -> tuple[dict, dict]:
        """Whole state_dicts of model and optimiser. All processes must ask; the first one gets."""
        states = dict(self.model.state_dict()), self.optimizer.state_dict()
        return map_leaves(self._gathered, states) if self.sharded else states

    def _gathered(self, leaf):
        """The whole of a leaf, on the first process; one after the other, never all at once."""
        if not hasattr(leaf, "full_tensor"):
            return leaf
        leaf = _whole(leaf).cpu()
        return leaf if self.rank == 0 else None

    def restore(self, state: dict | None, done: int) -> None:
        """Load a whole state_dict of the optimiser, if there is one, cut as the parameters are.

        Raises ValueError if another process has done more or fewer steps.
        """
        if self.sum(done) != done * self.world:
            raise ValueError("checkpoint must be a file that every process sees, or none")
        for number, values in state["state"].items() if state and self.sharded else ():
            p = self.parameters[number]
            for name, value in values.items():
                if value.shape == p.shape:
                    values[name] = _cut(value, p)
        if state:
            self.optimizer.load_state_dict(state)

    @torch.no_grad()
    def collect(self) -> None:
        """Bring the trained numbers to the caller's model. All processes must ask."""
        if not self.sharded:
            return
        for one in (nn.Module.parameters, nn.Module.buffers):
            for mine, trained in zip(one(self.whole), one(self.model), strict=True):
                mine.copy_(_whole(trained))


class _Call(nn.Module):
    """The engines prepare parameters where a module is called, so whatever works on the model,
    a loss or a validation, is called through this one."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, function, *arguments):
        return function(self.model, *arguments)


def _shard(call, world, device):
    """Cut a model in pieces: each layer of a list for itself, and what is left as one.

    Pieces of a layer are put together while its forward runs, those of the rest during a call.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for value in [*call.parameters(), *call.buffers()]:
        distributed.broadcast(value.data, 0)  # the first process's numbers
    mesh = init_device_mesh(device.type, (world,))
    lists = (nn.ModuleList, nn.ModuleDict)
    for module in reversed(list(call.modules())):  # a list within a layer before that layer
        for layer in module.children() if isinstance(module, lists) else ():
            if not isinstance(layer, lists):
                fully_shard(layer, mesh=mesh)
    fully_shard(call, mesh=mesh)


def _whole(value):
    """A tensor put together from the pieces of all processes; one that is in no pieces stays."""
    if not hasattr(value, "full_tensor"):
        return value
    if value.numel() == 0:  # torch 2.13 stumbles over nothing
        return value.to_local().new_empty(value.shape)
    return value.full_tensor()


def _cut(value, like):
    """This process's piece of a tensor, cut as the parameter `like` is."""
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
