"""The GPU ran out of memory

Usual causes, most common first: the batch (or sequence, or image) is too large for this card; another process holds part of the memory;
evaluation runs with gradients or a larger batch; tensors with their graph are kept from step to step (`losses.append(loss)`); memory is
fragmented; one tensor is far larger than meant (a broadcast, an attention matrix over a very long sequence).

To tell them apart: in the first step it is size, or somebody else on the card (`nvidia-smi` lists the processes). At the first evaluation it
is `torch.no_grad()` or the evaluation batch. After hours, with memory that climbs from epoch to epoch, it is a leak. "Reserved but
unallocated" larger than what was tried is fragmentation. "Tried to allocate" larger than the whole card is a wrong shape.

This is not it: an allocator's warning that says it is no failure, a batch that was skipped and survived, the host's memory ("Killed",
oom-kill, MemoryError), advice on what to do if memory runs out.
"""

import re

from postmortem.model import Event, Onset
from postmortem.rules.base import Hit, quote
from postmortem.rules.crash._examples import first_words, last_words, raised

severity = "error"
explains = ("nccl-timeout", "nccl-error", "dataloader-worker-died", "python-exception", "segfault", "interrupted", "hang")
fix = (
    "Halve the batch and accumulate gradients, so that the effective batch stays: `--batch-size N/2 --gradient-accumulation-steps 2`.",
    "Use `torch.autocast('cuda', dtype=torch.bfloat16)` and activation checkpointing (`model.gradient_checkpointing_enable()`).",
    "Evaluate under `torch.no_grad()` and keep numbers, not tensors: `losses.append(loss.item())`.",
)
prevention = (
    "Run one step with the longest batch of the data, and one evaluation, before the long run; log `torch.cuda.max_memory_allocated()`.",
    "Leave 10 % of the card free: sequences vary, and so does what the libraries take.",
)
says = "|".join((
    r"(?:CUDA|HIP|XPU) out of memory\. Tried to allocate",
    r"OutOfMemoryError: (?:CUDA|HIP|XPU) out of memory",
    r"OutOfMemoryError: Allocation on device",
    r"MPS backend out of memory \(",
    r"(?<![\"'`])CUDA (?:runtime |driver )?error: out of memory",
    r"(?:runtime )?error \(2\) ?: out of memory",
    r"error=2 : out of memory",
    r"cudaErrorMemoryAllocation: out of memory",
    r"(?:results in|Retain:|Error:|Status:) (?:[^\n]{0,80})CUDA_ERROR_OUT_OF_MEMORY",
    r"OOM when allocating tensor",
    r"ResourceExhaustedError:[^\n]{0,200}failed to allocate memory",
    r"RESOURCE_EXHAUSTED: (?:Out of memory|OOM|Failed to allocate|Attempting to (?:allocate|reserve))",
    r"Ran out of memory in memory space hbm",
    r"cu(?:da|)Mem?[Aa]lloc(?:Async)? (?:retry )?failed: out of memory",
    r"cudaMalloc (?:retry )?failed: out of memory",
    r"Out of memory error on GPU \d",
    r"cudaSuccess \(2 vs\. 0\)\s+out of memory",
    r"Cuda failure '?out of memory",
    r"CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED",
    r"Out of memory allocating [\d,]+ bytes",
    r"No available memory for the cache blocks",
    r"InternalError: Dst tensor is not initialized",
))  # fmt: skip

UNITS = {"KIB": 2.0**-20, "MIB": 2.0**-10, "GIB": 1.0, "KB": 2.0**-20, "MB": 2.0**-10, "GB": 1.0}  # in GiB
AMOUNT = r"([\d.]+) ?([KMG]i?B)\b"
ASKED = re.compile(rf"(?:Tried to allocate|trying to allocate|Cannot allocate) {AMOUNT}", re.I)
ASKED_BYTES = re.compile(r"(?:trying to allocate|Out of memory allocating) ([\d,]+) bytes", re.I)
TOTAL = (re.compile(rf"total capacity of {AMOUNT}"), re.compile(rf"{AMOUNT} total capacity"), re.compile(rf"max allowed: {AMOUNT}"))
FREE = (re.compile(rf"of which {AMOUNT} is free"), re.compile(rf"; {AMOUNT} free"), re.compile(rf"available memory is only {AMOUNT}"))
USED = (re.compile(rf"{AMOUNT} is allocated by PyTorch"), re.compile(rf"{AMOUNT} already allocated"))
RESERVED_IDLE = re.compile(rf"{AMOUNT} is reserved by PyTorch but unallocated")
RESERVED = re.compile(rf"{AMOUNT} reserved in total by PyTorch")
OTHERS = re.compile(rf"(?<!this )[Pp]rocess \d+ has {AMOUNT} memory in use")
GUESSED = re.compile(r"ALLOC_FAILED|Dst tensor is not initialized")  # nearly always memory, but not in so many words
MUCH = 0.25  # of the card in other hands is worth a word of its own


def examine(event: Event) -> Hit | None:
    text = event.text
    asked, total, free = _asked(text), _first(TOTAL, text), _first(FREE, text)
    used = _first(USED, text)
    others = sum(_gib(*found) for found in OTHERS.findall(text))
    said = [f"{value:.2f} GiB {what}" for value, what in ((asked, "more were asked for"), (total, "are on the card"), (free, "were free")) if value is not None]
    numbers = f"{', '.join(said)}." if said else ""
    cause, cure = "", tuple[str, ...]()
    if total and others > MUCH * total:
        cause = f"Other processes hold {others:.1f} of the card's {total:.1f} GiB: this run did not have the card for itself."
        cure = ("See who is on the card (`nvidia-smi`), end leftovers of earlier runs, or take another one: `CUDA_VISIBLE_DEVICES=N`.",)
    elif asked and total and asked > total:
        cause = "One tensor larger than the whole card was asked for: look for a wrong shape, an unwanted broadcast, or a far too long sequence."
    elif asked and used is not None and _idle(text, used) > asked:
        cause = f"{_idle(text, used):.1f} GiB were reserved but unused, more than was asked for: the memory is fragmented."
        cure = ("Set `PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True` before the start.",)
    elif total and used is not None and used > (1 - MUCH) * total:
        cause = f"The run's own tensors fill the card ({used:.1f} of {total:.1f} GiB): the batch, the sequence or the model is too large for it."
    told = f"{numbers} {cause}".strip()
    confidence = "medium" if GUESSED.search(text) else "high"
    return Hit([quote(event, primary=True)], Onset(time=event.time), confidence, cause=told, fix=(*cure, *fix) if cure else ())  # type: ignore[arg-type]


def _asked(text: str) -> float | None:
    if found := ASKED.search(text):
        return _gib(found[1], found[2])
    found = ASKED_BYTES.search(text)
    return int(found[1].replace(",", "")) / 2**30 if found else None


def _idle(text: str, used: float) -> float:
    """GiB that PyTorch holds but does not use; older versions tell only the sum."""
    if found := RESERVED_IDLE.search(text):
        return _gib(found[1], found[2])
    found = RESERVED.search(text)
    return _gib(found[1], found[2]) - used if found else 0.0


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> float | None:
    found = next((match for pattern in patterns if (match := pattern.search(text))), None)
    return _gib(found[1], found[2]) if found else None


def _gib(value: str, unit: str) -> float:
    return float(value.rstrip(".")) * UNITS[unit.upper()]


fires_on = [
    raised(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.10 GiB. GPU 0 has a total capacity of 23.65 GiB of which 1.02 GiB is free. "
        "Including non-PyTorch memory, this process has 22.60 GiB memory in use. Of the allocated memory 21.07 GiB is allocated by PyTorch, and "
        "1.10 GiB is reserved by PyTorch but unallocated.",
        "PyTorch 2",
    ),
    raised(
        "RuntimeError: CUDA out of memory. Tried to allocate 470.00 MiB (GPU 1; 10.76 GiB total capacity; 6.20 GiB already allocated; "
        "112.19 MiB free; 9.31 GiB reserved in total by PyTorch)",
        "PyTorch 1, fragmented",
    ),
    raised(
        "tensorflow.python.framework.errors_impl.ResourceExhaustedError: OOM when allocating tensor with shape[96,640,72,72] and type float on "
        "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc",
        "TensorFlow",
    ),
    raised("jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes.", "JAX"),
    last_words("F0612 04:10:21.118034  8123 syncedmem.cpp:71] Check failed: error == cudaSuccess (2 vs. 0)  out of memory\n*** Check failure stack trace: ***", "Caffe"),
    raised("mxnet.base.MXNetError: [03:11:09] src/storage/./pooled_storage_manager.h:161: cudaMalloc retry failed: out of memory", "MXNet"),
    first_words("THCudaCheck FAIL file=/tmp/build/cutorch/lib/THC/generic/THCStorage.cu line=66 error=2 : out of memory", "Torch7"),
]
quiet_on = [
    last_words("Hint: if you see CUDA out of memory errors, lower --batch-size or turn on --grad-checkpointing.", "advice"),
    last_words(
        "2023-02-11 08:15:40.221915: W tensorflow/core/common_runtime/bfc_allocator.cc:290] Allocator (GPU_0_bfc) ran out of memory trying to allocate 1.92GiB "
        "with freed_by_count=0. The caller indicates that this is not a failure, but this may mean that there could be performance gains if more memory were available.",
        "TensorFlow's allocator, no failure",
    ),
    last_words('    if "CUDA out of memory" in str(error):\n        torch.cuda.empty_cache()', "source code in the log"),
    last_words("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=33021.batch. Some of your processes may have been killed by the cgroup out-of-memory handler.", "the host's memory"),
]
