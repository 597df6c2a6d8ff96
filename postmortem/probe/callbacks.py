"""The probe for trainers that own the loop: Lightning, Hugging Face and Keras 3 on torch. Each framework is imported only where its class is made."""

from __future__ import annotations

from typing import Any

from postmortem.probe import Probe


def _lightning() -> type:
    try:
        from lightning.pytorch.callbacks import Callback
    except ImportError:
        from pytorch_lightning.callbacks import Callback  # the older name of the same package

    class LightningProbe(Callback):
        """`Trainer(callbacks=[LightningProbe(every=50)])`. Arguments are those of Probe without model and optimizer."""

        def __init__(self, **options: Any) -> None:
            self.options, self.probe = options, None

        def on_train_start(self, trainer: Any, module: Any) -> None:
            optimizer = trainer.optimizers[0] if trainer.optimizers else None
            self.probe = Probe(module, getattr(optimizer, "optimizer", optimizer), rank=trainer.global_rank, **self.options)
            self.probe.__enter__()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if self.probe is not None:
                self.probe.step(outputs["loss"] if isinstance(outputs, dict) and "loss" in outputs else None)

        def on_validation_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            if self.probe is not None and batch_idx == 0 and not trainer.sanity_checking:
                self.probe.validation(outputs["loss"] if isinstance(outputs, dict) and "loss" in outputs else outputs if hasattr(outputs, "detach") else None)

        def on_train_end(self, trainer: Any, module: Any) -> None:
            if self.probe is not None:
                self.probe.close("finished")

        def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
            if self.probe is not None:
                self.probe.close("signal:SIGINT" if isinstance(exception, KeyboardInterrupt) else f"exception:{type(exception).__name__}")

    return LightningProbe


def _hugging_face() -> type:
    from transformers import TrainerCallback

    class HuggingFaceProbe(TrainerCallback):
        """`Trainer(..., callbacks=[HuggingFaceProbe(every=50)])`. Arguments are those of Probe without model and optimizer."""

        def __init__(self, **options: Any) -> None:
            self.options, self.probe, self._loss = options, None, None

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **_: Any) -> None:
            self.probe = Probe(model, getattr(optimizer, "optimizer", optimizer), rank=args.process_index, **self.options)
            self.probe.__enter__()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            self._loss = (logs or {}).get("loss", self._loss)
            if self.probe is not None and logs and "eval_loss" in logs:
                self.probe.validation(logs["eval_loss"], first_batch=False)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.probe is not None:
                self.probe.step(self._loss)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.probe is not None:
                self.probe.close("finished")

    return HuggingFaceProbe


def _keras() -> type:
    import keras

    class KerasProbe(keras.callbacks.Callback):
        """`model.fit(..., callbacks=[KerasProbe(every=50)])` with the torch backend. Keras owns its optimizer: losses, drift and activations are told."""

        def __init__(self, **options: Any) -> None:
            super().__init__()
            self.options, self.probe = options, None

        def on_train_begin(self, logs: Any = None) -> None:
            if keras.backend.backend() != "torch":
                print("[PROBE] disabled: Keras does not run on torch", flush=True)
                return
            self.probe = Probe(self.model, None, **self.options)
            self.probe.__enter__()

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            if self.probe is not None:
                self.probe.step((logs or {}).get("loss"))

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            if self.probe is not None and "val_loss" in (logs or {}):
                self.probe.validation(logs["val_loss"], first_batch=False)  # type: ignore[index]

        def on_train_end(self, logs: Any = None) -> None:
            if self.probe is not None:
                self.probe.close("finished")

    return KerasProbe


_MAKERS = {"LightningProbe": _lightning, "HuggingFaceProbe": _hugging_face, "KerasProbe": _keras}


def __getattr__(name: str) -> Any:
    if name in _MAKERS:
        globals()[name] = _MAKERS[name]()
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
