"""Two tensors were on different devices

Usual causes, most common first: a batch or a target that was not moved with `.to(device)`; a tensor made inside `forward` without
`device=`; a plain attribute where a registered buffer belongs; an optimizer or a loss weight made before the model was moved; a model
spread over several cards whose input went to the wrong one.

To tell them apart: the message names both devices. cuda and cpu: something was not moved. cuda:0 and cuda:1: a device was hard-coded, or
the model is spread over cards. The last frame of your own code shows which tensor.

This is not it: no GPU at all (cuda-unavailable), tensors of two number types (dtype-mismatch).
"""

import re

from postmortem.model import Event, Onset
from postmortem.rules.base import Hit, quote
from postmortem.rules.crash._examples import last_words, raised

severity = "error"
explains = ("python-exception", "nccl-timeout", "nccl-error", "interrupted", "hang")
yields_to = ("cuda-unavailable",)
fix = (
    "Make new tensors where their neighbours live: `torch.arange(n, device=x.device)`; use `x.new_zeros(...)`.",
    "Hold constants with `self.register_buffer(name, tensor)`, so that `.to(device)` takes them along.",
    "Move the whole batch in one place: `batch = {k: v.to(device, non_blocking=True) for k, v in batch.items()}`.",
)
prevention = ("Run one step on the CPU and one on the GPU in a test; both catch a hard-coded device at once.",)
says = "|".join((
    r"[Ee]xpected all tensors to be on the same device",
    r"[Ee]xpected object of (?:backend|device type) \w+ but got (?:backend|device type) \w+",
    r"Input type \((?:torch\.)?(?:cuda\.|CUDA)\w+\) and (?:weight|bias) type \((?:torch\.)?(?!cuda\.|CUDA)\w+\)",
    r"Input type \((?:torch\.)?(?!cuda\.|CUDA)\w+\) and (?:weight|bias) type \((?:torch\.)?(?:cuda\.|CUDA)\w+\)",
    r"[Tt]ensors? .{0,60}(?:is|are) on (?:CPU|cpu|cuda:\d+),? but (?:expected|it|is|other)",
    r"[Tt]ensors? for argument #\d .{0,80}(?:is|are) on (?:CPU|GPU|cuda|cpu)",
    r"[Tt]ensor on device \S+ is not on the expected device",
    r"indices should be either on cpu or on the same device",
    r"can't convert (?:cuda:\d+|CUDA|mps:\d+) (?:device type )?tensor to numpy",
    r"Cannot copy out of meta tensor",
    r"module must have its parameters and buffers on device",
    r"Expected a '(?:cuda|cpu|mps)(?::\d+)?' (?:device type for )?generator",
    r"Expected a '?(?:cuda|cpu)'? device type for generator but found",
    r"all tensors must be on (?:the same|devices)",
    r"arguments are located on different GPUs",
    r"Placeholder storage has not been allocated on MPS device",
    r"Received incompatible devices for jitted computation",
    r"Pointer argument \(at \d+\) cannot be accessed from Triton \(cpu tensor",
    r"No backend type associated with device type",
))  # fmt: skip

DEVICES = re.compile(r"devices, (\w+(?::\d+)?) and (\w+(?::\d+)?)")


def examine(event: Event) -> Hit | None:
    found = DEVICES.search(event.text)
    said = f"One tensor was on {found[1]}, the other on {found[2]}." if found else ""
    return Hit([quote(event, primary=True)], Onset(time=event.time), cause=said)


fires_on = [
    raised(
        "RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cuda:1 and cpu! (when checking "
        "argument for argument mat1)",
        "a tensor left on the CPU",
    ),
    raised(
        "RuntimeError: Input type (torch.FloatTensor) and weight type (torch.cuda.FloatTensor) should be the same or input should be a "
        "MKLDNN tensor",
        "a batch left on the CPU",
    ),
    raised(
        "TypeError: can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.",
        "to NumPy",
        code="scores.append(np.array(out))",
    ),
    raised("RuntimeError: indices should be either on cpu or on the same device as the indexed tensor (cpu)", "an index"),
]
quiet_on = [
    last_words("using device cuda:0; evaluation on cpu", "devices in a log line"),
    raised("RuntimeError: expected scalar type Half but found Float", "number types"),
    raised("RuntimeError: Input type (float) and bias type (c10::Half) should be the same", "number types of a layer"),
]
