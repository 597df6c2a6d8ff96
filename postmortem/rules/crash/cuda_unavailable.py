"""No usable GPU was found

Usual causes, most common first: a job or container without a GPU (`--gres=gpu:1`, `--gpus all` missing); a CPU-only build of the
framework; a driver older than the CUDA of the framework; `CUDA_VISIBLE_DEVICES` that names a card which is not there; a build without
kernels for this (too new or too old) card; a card that is in use exclusively, or fell off the bus.

To tell them apart: `nvidia-smi` in the job. If it fails, it is the job, the container or the driver. If it works, `python -c "import
torch; print(torch.version.cuda, torch.cuda.is_available())"`: None means a CPU build. "no kernel image" is the card's architecture;
"invalid device ordinal" is a number too high.

This is not it: a framework that says it falls back to the CPU and goes on, tensors on two devices.
"""

import re

from postmortem.model import Event, Onset
from postmortem.rules.base import Hit, quote
from postmortem.rules.crash._examples import first_words, last_words, raised

severity = "error"
explains = ("python-exception", "nccl-timeout", "nccl-error", "interrupted", "hang")
yields_to = ("gpu-xid",)
fix = (
    "Ask for a GPU: `#SBATCH --gres=gpu:1`, `docker run --gpus all`, `resources.limits: nvidia.com/gpu: 1`.",
    "Install the build that fits the driver (`nvidia-smi` shows the highest CUDA version it can run).",
    "Let `CUDA_VISIBLE_DEVICES` and `--nproc-per-node` agree with the number of cards in the job.",
)
prevention = ("Begin the job with `nvidia-smi && python -c 'import torch; torch.zeros(1).cuda()'`.",)
says = "|".join((
    r"No CUDA GPUs are available",
    r"Torch not compiled with CUDA enabled",
    r"Found no NVIDIA driver on your system",
    r"CUDA driver version is insufficient for CUDA runtime version",
    r"(?<!cuInit: CUDA_ERROR_NO_DEVICE: )no CUDA-capable device is detected",
    r"The NVIDIA driver on your system is too old",
    r"invalid device ordinal",
    r"no kernel image is available for execution on the device",
    r"all CUDA-capable devices are busy or unavailable",
    r"Attempting to deserialize object on (?:a CUDA device but|CUDA device \d+ but)",
    r"forward compatibility was attempted on non supported HW",
    r"CUDA error: (?:system not yet initialized|unknown error)|CUDA unknown error - this may be due to",
    r"Unexpected error from cudaGetDeviceCount\(\)",
    r"Cannot use GPU in CPU-only Caffe",
    r"No supported gpu backend found",
    r"You requested gpu: .{0,80}But your machine only has",
    r"Invalid CUDA '?(?:--)?device",
    r"(?:Error|Exception): .{0,80}(?:CUDA|GPU)s? (?:is|are) (?:not available|unavailable|required)",
    r"(?:Error|Exception): .{0,80}[Nn]o (?:CUDA |GPU )?(?:GPUs?|CUDA devices?|cuda devices?) (?:found|available|detected)",
    r"FlashAttention only supports Ampere GPUs or newer",
    r"(?:XlaRuntimeError|RuntimeError): .{0,120}Unable to initialize backend '(?:cuda|gpu|tpu|rocm)'",
    r"Failed to infer device type",
    r"could not select device driver .{0,20}with capabilities: \[\[gpu\]\]",
    r"Insufficient nvidia\.com/gpu",
    r"HIP error: (?:invalid device function|no ROCm-capable device)|No HIP GPUs are available",
))  # fmt: skip

KINDS = (
    (re.compile(r"not compiled with CUDA|CPU-only"), "The framework is a build without CUDA."),
    (re.compile(r"driver version is insufficient|too old"), "The driver is older than the CUDA version the framework was built for."),
    (re.compile(r"no kernel image|invalid device function|Ampere"), "The framework was built without code for this card's architecture."),
    (
        re.compile(r"invalid device ordinal|machine only has|Invalid CUDA|deserialize object on CUDA device"),
        "A card was asked for whose number is higher than there are cards.",
    ),
    (re.compile(r"busy or unavailable"), "The card is held by another process, or in exclusive mode."),
)


def examine(event: Event) -> Hit | None:
    said = next((words for pattern, words in KINDS if pattern.search(event.text)), "")
    return Hit([quote(event, primary=True)], Onset(time=event.time), cause=said)


fires_on = [
    raised("RuntimeError: No CUDA GPUs are available", "no card in the job", code="model.cuda()"),
    raised("AssertionError: Torch not compiled with CUDA enabled", "a CPU build", code="model.cuda()"),
    raised("RuntimeError: CUDA error: no kernel image is available for execution on the device", "a build without code for this card"),
    first_words(
        "F1105 20:31:12.918441  1802 common.cpp:152] Check failed: error == cudaSuccess (35 vs. 0)  CUDA driver version is insufficient "
        "for CUDA runtime version",
        "Caffe",
    ),
    first_words('docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].', "Docker"),
]
quiet_on = [
    first_words("No GPU/TPU found, falling back to CPU. (Set TF_CPP_MIN_LOG_LEVEL=0 and rerun for more info.)", "JAX goes on without"),
    first_words(
        "2022-01-19 10:10:31.001223: E tensorflow/stream_executor/cuda/cuda_driver.cc:271] failed call to cuInit: CUDA_ERROR_NO_DEVICE: "
        "no CUDA-capable device is detected",
        "TensorFlow goes on without",
    ),
    last_words("GPU available: False, used: False", "a summary"),
]
