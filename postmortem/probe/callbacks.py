"""The probe for trainers that own the loop: Lightning, Hugging Face, Keras 3 on torch. Each is imported only where its class is made."""

from __future__ import annotations

from typing import Any

from .measure import bare
from .watch import Probe


def _lightning() -> type:
    try:
        from lightning.pytorch.callbacks import Callback
    except ImportError:
        from pytorch_lightning.callbacks import Callback  # the older name of the same package

    class LightningProbe(Callback):
        """`Trainer(callbacks=[LightningProbe(every=50)])`. Arguments are those of Probe without model and optimizer."""

        def __init__(self, **options: Any) -> None:
            self.options, self._told = options, 0
            self.probe: Probe | None = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            options = {"rank": trainer.global_rank, "start": trainer.global_step, **self.options}
            self._told = trainer.global_step
            self.probe = Probe(pl_module, list(trainer.optimizers), **options)
            self.probe.__enter__()
            # The trainer calls training_step, not forward: the module's hooks would not see it.
            _watch_step(self.probe, pl_module)

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            if self.probe is not None:
                self.probe.gradients(bare(optimizer, ("optimizer",)))

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            stepped, self._told = trainer.global_step != self._told, trainer.global_step
            if self.probe is not None and (stepped or (batch_idx + 1) % trainer.accumulate_grad_batches == 0):
                self.probe.step(_loss(outputs))

        def on_validation_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
        ) -> None:
            if self.probe is not None and batch_idx == 0 and dataloader_idx == 0 and not trainer.sanity_checking:
                self.probe.validation(_loss(outputs))

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            if self.probe is not None:
                self.probe.close("signal:SIGINT" if trainer.interrupted else "finished")

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            if self.probe is not None:
                self.probe.close("signal:SIGINT" if isinstance(exception, KeyboardInterrupt) else f"exception:{type(exception).__name__}")

    return LightningProbe
