"""Two tensors had different number types

Usual causes, most common first: half-precision weights meet float32 inputs (or the reverse) outside autocast; labels that are float where
long is asked for; NumPy arrays that are float64 by default; a layer cast by hand; a quantised or float8 weight used as it is.

To tell them apart: the message names both types. Double means a NumPy array came in unconverted; Half or BFloat16 against Float means a
cast (`.half()`, `model.to(torch.bfloat16)`) that one side did not get; Long against Float means labels.

This is not it: a wrong Python type ("expected str, got int"), tensors on two devices, overflow of half precision.
"""

import re

from postmortem.model import Event, Onset
from postmortem.rules.base import Hit, quote
from postmortem.rules.crash._examples import last_words, raised

severity = "error"
explains = ("python-exception", "nccl-timeout", "nccl-error", "interrupted", "hang")
fix = (
    "Run forward and loss under `torch.autocast('cuda', dtype=torch.bfloat16)` in place of casting parts by hand.",
    "Convert at the door: `x = x.float()` for data, `y = y.long()` for class labels.",
)
prevention = (
    "Check `x.dtype` and `next(model.parameters()).dtype` once at the start, and in a test for every precision that the config allows.",
)
says = "|".join((
    r"mat1 and mat2 must have the same dtype",
    r"expected (?:m1 and m2|mat1 and mat2|self and mat2|both vectors|a and b|query, key, and value) to have the same dtype",
    r"[Ee]xpected (?:query, key, and value|tensors? of|all tensors) .{0,40}(?:same dtype|same dtypes)",
    r"[Ee]xpected (?:object of )?(?:scalar|data) ?type \w+ but (?:got|found)",
    r"expected dtype \w+.{0,40} but got (?:dtype )?\w+",
    r"Input type \(.{1,60}\) and (?:weight|bias) type \(.{1,60}\) should be the same",
    r"\w\"? not implemented for '(?:Half|Long|Int|Float|Double|Bool|BFloat16|Char|Byte|ComplexFloat|Float8_\w+)'",
    r"result type \w+ can't be cast to the desired output type",
    r"Found dtype \w+ but expected \w+",
    r"Index put requires the source and destination dtypes match",
    r"Can't convert a (?:CUDA|numpy) .{0,40}dtype|can't convert np\.ndarray of type",
    r"Only Tensors of floating point (?:and complex )?dtype can require gradients",
    r"mean\(\): (?:could not infer output dtype|input dtype should be)",
    r"cannot compute \w+ as input #\d+\(zero-based\) was expected to be an? \w+ tensor but is an? \w+ tensor",
    r"Tensor conversion requested dtype \w+ for Tensor with dtype",
    r"Input '\w+' of '\w+' Op has type \w+ that does not match type",
    r"Value passed to parameter '\w+' has DataType \w+ not in list of allowed values",
    r"requires (?:arguments|operands) to have (?:equal|the same) (?:dtypes|element types)",
    r"(?:cond|scan|while_loop)\b.{0,120}must have (?:identical|equal) types",
    r"Attempting to unscale FP16 gradients",
    r"UFuncTypeError: Cannot cast ufunc",
    r"FlashAttention only support fp16 and bf16 data type",
    r"Got unsupported ScalarType",
))  # fmt: skip

TYPES = (
    re.compile(r"type (\w+) but (?:got|found)(?: scalar type)? (\w+)"),
    re.compile(r"got:? (\w+) and (\w+)|have the same dtype, (?:but )?got:? (\w+) and (\w+)"),
    re.compile(r"Input type \((?:torch\.)?([\w.]+)\) and (?:weight|bias) type \((?:torch\.)?([\w.]+)\)"),
    re.compile(r"Found dtype (\w+) but expected (\w+)"),
)


def examine(event: Event) -> Hit | None:
    found = next((match for pattern in TYPES if (match := pattern.search(event.text))), None)
    pair = [part for part in found.groups() if part] if found else []
    said = f"{pair[0]} met {pair[1]}: one of the two was not converted." if len(pair) > 1 else ""
    return Hit([quote(event, primary=True)], Onset(time=event.time), cause=said)


fires_on = [
    raised("RuntimeError: mat1 and mat2 must have the same dtype, but got Float and BFloat16", "weights in half, data in full precision"),
    raised("RuntimeError: expected scalar type Long but found Float", "labels", code="loss = F.cross_entropy(out, y)"),
    raised("RuntimeError: Input type (double) and bias type (float) should be the same", "float64 from NumPy"),
    raised("RuntimeError: \"addmm_impl_cpu_\" not implemented for 'Half'", "half precision on the CPU"),
    raised(
        "ValueError: Tensor conversion requested dtype float32 for Tensor with dtype float64: <tf.Tensor: shape=(), dtype=float64>",
        "TensorFlow",
    ),
]
quiet_on = [
    last_words("compute dtype torch.bfloat16, parameter dtype torch.float32, reduce dtype torch.float32", "types in a summary"),
    raised("TypeError: expected str, bytes or os.PathLike object, not NoneType", "a Python type"),
    raised("RuntimeError: Input type (torch.FloatTensor) and weight type (torch.cuda.FloatTensor) should be the same", "two devices"),
]
yields_to = ("device-mismatch", "shape-mismatch")
