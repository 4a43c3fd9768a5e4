"""The same training written for PyTorch alone, Lightning, Accelerate, skorch, Ignite, and as pt-pipeline does it.

Every subject gets the same network, arrays, batch size, optimizer, schedule, clipping and label smoothing, reports the
loss and the accuracy of both splits after every epoch, and leaves a checkpoint. Those that take a DataLoader get one
that indexes a whole batch at once, the fastest that the class offers.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
LABEL_SMOOTHING = 0.1
MAX_NORM = 1.0


class Work(NamedTuple):
    """What every subject trains."""

    network: nn.Module
    """A fresh network, on the CPU."""
    train: tuple[torch.Tensor, torch.Tensor]
    """x (N, C, H, W) float32 in [0, 1] and y (N,) int64."""
    validation: tuple[torch.Tensor, torch.Tensor]
    """The same of the split that is only looked at."""
    epochs: int
    """Passes over the training split."""
    batch_size: int
    """Samples per step."""
    device: str
    """cpu or cuda."""
    precision: str
    """fp32 or bf16-mixed."""
    folder: Path
    """Where checkpoints and logs go."""

    @property
    def num_batches(self) -> int:
        """Steps of one epoch."""
        return -(-len(self.train[1]) // self.batch_size)


Accuracy = float
Loop = Callable[[Work], Accuracy]
"""Train to the end, leave a checkpoint, return the validation accuracy."""


def _autocast(work: Work) -> Any:
    return torch.amp.autocast(work.device, dtype=torch.bfloat16, enabled=work.precision == "bf16-mixed")


def _optimizer(work: Work, network: nn.Module, *, fused: bool | None = None) -> tuple[AdamW, OneCycleLR]:
    optimizer = AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=fused)
    return optimizer, OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=work.epochs * work.num_batches, cycle_momentum=False
    )


def _loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.float(), y, label_smoothing=LABEL_SMOOTHING)


def plain(work: Work) -> Accuracy:
    """The loop that people write by hand: data on the device, one index per batch, nothing read back in an epoch."""
    return _plain(work, work.network.to(work.device))


def compiled(work: Work) -> Accuracy:
    """The same with torch.compile; the first step compiles and is timed too."""
    return _plain(work, torch.compile(work.network.to(work.device)))


def fused(work: Work) -> Accuracy:
    """The same with AdamW in one kernel, as ours has it; torch does not do so by itself."""
    return _plain(work, work.network.to(work.device), fused=True)


def channels_last(work: Work) -> Accuracy:
    """The same with the channels_last memory format."""
    network = work.network.to(work.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _plain(work, network, memory_format=torch.channels_last)


def _plain(
    work: Work,
    network: Any,
    memory_format: torch.memory_format = torch.contiguous_format,
    *,
    fused: bool | None = None,
) -> Accuracy:
    (x, y), held_out = (
        [tensor.to(work.device) for tensor in split] for split in (work.train, work.validation)
    )
    optimizer, schedule = _optimizer(work, network, fused=fused)
    history = []
    for _ in range(work.epochs):
        network.train()
        losses, corrects = [], []
        order = torch.randperm(len(y))
        for start in range(0, len(y), work.batch_size):
            rows = order[start : start + work.batch_size].to(work.device)
            batch, labels = x[rows].contiguous(memory_format=memory_format), y[rows]
            with _autocast(work):
                logits = network(batch)
            loss = _loss(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
            corrects.append((logits.detach().argmax(1) == labels).sum())
        trained = torch.stack(losses).mean().item(), torch.stack(corrects).sum().item() / len(y)
        history.append((*trained, *_validate(work, network, *held_out, memory_format=memory_format)))
    torch.save(
        {"network": network.state_dict(), "optimizer": optimizer.state_dict()}, work.folder / "plain.pt"
    )
    return history[-1][-1]


def _validate(
    work: Work,
    network: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> tuple[float, float]:
    network.eval()
    losses, corrects = [], []
    with torch.inference_mode(), _autocast(work):
        for start in range(0, len(y), work.batch_size):
            logits = network(x[start : start + work.batch_size].contiguous(memory_format=memory_format))
            labels = y[start : start + work.batch_size]
            losses.append(_loss(logits, labels) * len(labels))
            corrects.append((logits.argmax(1) == labels).sum())
    return torch.stack(losses).sum().item() / len(y), torch.stack(corrects).sum().item() / len(y)


def _loaders(work: Work) -> tuple[DataLoader[Any], DataLoader[Any]]:
    train, validation = TensorDataset(*work.train), TensorDataset(*work.validation)
    return tuple(  # type: ignore[return-value]
        # A sampler of whole batches and no batching of the loader's own: each item is one indexing.
        DataLoader(
            _Rows(data), sampler=BatchSampler(order(data), work.batch_size, drop_last=False), batch_size=None
        )
        for data, order in ((train, RandomSampler), (validation, SequentialSampler))
    )


class _Rows(torch.utils.data.Dataset[Any]):
    """Whole batches of a TensorDataset by their rows."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, rows: list[int]) -> Any:
        return self.data[torch.tensor(rows)]


def lightning(work: Work) -> Accuracy:
    """Lightning's Trainer with its CSV logger and its checkpoint of the last epoch."""
    import lightning as L  # noqa: N812 - the customary name
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = work.network

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return self._step(batch, "train")

        def validation_step(self, batch: Any, _: int) -> None:
            self._step(batch, "validation")

        def _step(self, batch: Any, name: str) -> torch.Tensor:
            x, y = batch
            logits = self.network(x)
            loss = _loss(logits, y)
            correct = (logits.detach().argmax(1) == y).float().mean()
            values = {f"{name}_loss": loss.detach(), f"{name}_accuracy": correct}
            self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(y))
            return loss

        def configure_optimizers(self) -> Any:
            optimizer, schedule = _optimizer(work, self)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    trainer = L.Trainer(
        max_epochs=work.epochs,
        accelerator="gpu" if work.device == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if work.precision == "bf16-mixed" else "32-true",
        gradient_clip_val=MAX_NORM,
        logger=CSVLogger(work.folder),
        callbacks=[ModelCheckpoint(work.folder, every_n_epochs=work.epochs)],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10**9,
    )
    trainer.fit(Module(), *_loaders(work))
    return float(trainer.callback_metrics["validation_accuracy"])


def accelerate(work: Work) -> Accuracy:
    """Accelerate around the loop by hand, with its own saved state."""
    from accelerate import Accelerator

    helper = Accelerator(
        cpu=work.device == "cpu", mixed_precision="bf16" if work.precision == "bf16-mixed" else "no"
    )
    optimizer, schedule = _optimizer(work, work.network)
    network, optimizer, schedule = helper.prepare(work.network, optimizer, schedule)
    # Not prepared: its own loader refuses one that indexes whole batches, and would be slower without.
    loader, held_out = _loaders(work)
    accuracy = 0.0
    for _ in range(work.epochs):
        network.train()
        losses, corrects = [], []
        for batch in loader:
            x, y = (tensor.to(helper.device) for tensor in batch)
            logits = network(x)
            loss = _loss(logits, y)
            optimizer.zero_grad(set_to_none=True)
            helper.backward(loss)
            helper.clip_grad_norm_(network.parameters(), MAX_NORM)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
            corrects.append((logits.detach().argmax(1) == y).sum())
        torch.stack(losses).mean().item(), torch.stack(corrects).sum().item()
        network.eval()
        right, losses = [], []
        with torch.inference_mode():
            for batch in held_out:
                x, y = (tensor.to(helper.device) for tensor in batch)
                logits = network(x)
                losses.append(_loss(logits, y))
                right.append((logits.argmax(1) == y).sum())
        torch.stack(losses).mean().item()
        accuracy = torch.stack(right).sum().item() / len(work.validation[1])
    helper.save_state(str(work.folder / "accelerate"))
    return accuracy


def skorch(work: Work) -> Accuracy:
    """Skorch's classifier with its scoring of every epoch and its checkpoint."""
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Checkpoint, EpochScoring, GradientNormClipping, LRScheduler
    from skorch.helper import predefined_split

    class Net(NeuralNetClassifier):  # type: ignore[misc]
        def train_step_single(self, batch: Any, **arguments: Any) -> Any:
            with _autocast(work):
                return super().train_step_single(batch, **arguments)

        def validation_step(self, batch: Any, **arguments: Any) -> Any:
            with _autocast(work):
                return super().validation_step(batch, **arguments)

        def infer(self, x: Any, **arguments: Any) -> torch.Tensor:
            return super().infer(x, **arguments).float()

        def get_loss(self, y_pred: Any, y_true: Any, *_: Any, **__: Any) -> torch.Tensor:
            return _loss(y_pred, y_true)

    def loader(data: Any, *, batch_size: int, shuffle: bool = False, **_: Any) -> Any:
        order = RandomSampler(data) if shuffle else SequentialSampler(data)
        return DataLoader(
            _Rows(data), sampler=BatchSampler(order, batch_size, drop_last=False), batch_size=None
        )

    net = Net(
        work.network,
        criterion=nn.CrossEntropyLoss,
        optimizer=AdamW,
        lr=LEARNING_RATE,
        optimizer__weight_decay=WEIGHT_DECAY,
        max_epochs=work.epochs,
        batch_size=work.batch_size,
        iterator_train=loader,
        iterator_train__shuffle=True,
        iterator_valid=loader,
        train_split=predefined_split(TensorDataset(*work.validation)),
        classes=list(range(10)),
        device=work.device,
        verbose=0,
        callbacks=[
            LRScheduler(
                OneCycleLR,
                max_lr=LEARNING_RATE,
                total_steps=work.epochs * work.num_batches,
                cycle_momentum=False,
                step_every="batch",
            ),
            GradientNormClipping(MAX_NORM),
            EpochScoring("accuracy", name="train_accuracy", on_train=True, lower_is_better=False),
            Checkpoint(dirname=work.folder / "skorch", monitor=lambda net: len(net.history) == work.epochs),
        ],
    )
    net.fit(TensorDataset(*work.train), y=None)
    return float(net.history[-1, "valid_acc"])


def ignite(work: Work) -> Accuracy:
    """Ignite's engines with its metrics, schedule handler and checkpoint."""
    from ignite.engine import Engine, Events
    from ignite.handlers import ModelCheckpoint
    from ignite.metrics import Accuracy as Right
    from ignite.metrics import Average, Loss

    network = work.network.to(work.device)
    optimizer, schedule = _optimizer(work, network)
    loader, held_out = _loaders(work)

    def update(_: Any, batch: Any) -> Any:
        network.train()
        x, y = (tensor.to(work.device) for tensor in batch)
        with _autocast(work):
            logits = network(x)
        loss = _loss(logits, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM)
        optimizer.step()
        schedule.step()
        return {"loss": loss.detach(), "y_pred": logits.detach(), "y": y}

    def answer(_: Any, batch: Any) -> Any:
        network.eval()
        x, y = (tensor.to(work.device) for tensor in batch)
        with torch.inference_mode(), _autocast(work):
            return network(x), y

    trainer, evaluator = Engine(update), Engine(answer)
    Average(output_transform=lambda out: out["loss"]).attach(trainer, "loss")
    Right(output_transform=lambda out: (out["y_pred"], out["y"])).attach(trainer, "accuracy")
    Right().attach(evaluator, "accuracy")
    Loss(_loss).attach(evaluator, "loss")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(held_out))
    trainer.add_event_handler(
        Events.COMPLETED,
        ModelCheckpoint(str(work.folder), "ignite"),
        {"network": network, "optimizer": optimizer},
    )
    trainer.run(loader, max_epochs=work.epochs)
    return float(evaluator.state.metrics["accuracy"])


LOOPS: dict[str, Loop] = {
    "plain": plain,
    "plain fused": fused,
    "plain channels_last": channels_last,
    "plain compiled": compiled,
    "lightning": lightning,
    "accelerate": accelerate,
    "skorch": skorch,
    "ignite": ignite,
}
"""Every subject that is not ours, by its name in the table."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' advice about loaders and logging."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
