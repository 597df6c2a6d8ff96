"""The checkpoint does not fit the model

Usual causes, most common first: another size of the model than the one that was saved (width, classes, vocabulary); `module.` in front of
every key (saved from DataParallel or DDP, loaded without, or `_orig_mod.` from torch.compile); code that changed since; a checkpoint of
another project; an optimizer state with other parameter groups.

To tell them apart: "size mismatch" names layer and both shapes. If all keys are both missing and unexpected, it is a prefix. If only the
head differs, the number of classes changed.

This is not it: a damaged file (checkpoint-corrupt), a missing one (file-not-found), shapes that clash during training (shape-mismatch).
"""

import re

from postmortem.model import Event, Onset
from postmortem.rules.base import Hit, quote
from postmortem.rules.crash._examples import first_words, last_words, raised

severity = "error"
explains = ("python-exception", "nccl-timeout", "nccl-error", "interrupted", "hang")
yields_to = ("checkpoint-corrupt",)
fix = (
    "Build the model from the configuration that was saved with the checkpoint, not from today's defaults.",
    "Strip a prefix: `state = {k.removeprefix('module.').removeprefix('_orig_mod.'): v for k, v in state.items()}`.",
    "For a new head: drop its keys from the state, then `model.load_state_dict(state, strict=False)`, and look at what it reports as "
    "missing.",
)
prevention = ("Save the model's configuration and the commit inside the checkpoint, and compare them before loading.",)
says = "|".join((
    r"Error\(s\) in loading state_dict for",
    r"size mismatch for [\w.]+: copying a param with shape",
    r"loaded state dict (?:has a different number of parameter groups|contains a parameter group that doesn't match)",
    r"KeyError: ['\"](?:\w+_)?state_dict['\"]",
    r"Trying to set a tensor of shape torch\.Size.{1,80} \(which has shape torch\.Size",
    r"Key .{1,160} not found in checkpoint",
    r"Assign requires shapes of both tensors to match",
    r"Restoring from checkpoint failed\. This is most likely due to a",
    r"Tensor's shape .{1,80} is not compatible with supplied shape",
    r"load(?:ing)? a weight file containing \d+ (?:saved )?layers into a model with \d+ layers",
    r"(?:Layer|Weight) count mismatch (?:when loading weights|for layer)",
    r"weight shape .{1,60} is not compatible with provided weight shape",
    r"Cannot copy param \d+ weights from layer '",
    r"Failed loading Parameter '",
    r"Parameter '?[\w.]+'? (?:is missing in file|loaded from file .{1,120} is not present)",
    r"Inconsistent shapes between value and initializer|ScopeParamShapeError",
    r"[Tt]arget dict keys and state dict keys do not match",
    r"on-disk value metadata tree structures? do(?:es)? not match|restore item and on-disk",
    r"checkpoint (?:was saved with|being loaded used) a (?:data parallel|DP|tensor parallel|TP) world size",
    r"Error loading state_dict: .{0,80}mismatch",
))  # fmt: skip

SIZES = re.compile(
    r"size mismatch for ([\w.]+): copying a param with shape torch\.Size\((\[[\d, ]*\])\) from checkpoint, the shape in current model is "
    r"torch\.Size\((\[[\d, ]*\])\)"
)
MISSING = re.compile(r"Missing key\(s\) in state_dict: \"([\w.]+)\"")
UNEXPECTED = re.compile(r"Unexpected key\(s\) in state_dict: \"([\w.]+)\"")
PREFIXES = ("module.", "_orig_mod.", "model.", "_forward_module.")


def examine(event: Event) -> Hit | None:
    said, cure = "", tuple[str, ...]()
    missing, unexpected = MISSING.search(event.text), UNEXPECTED.search(event.text)
    if missing and unexpected and (prefix := _prefix(missing[1], unexpected[1])):
        said = f"The keys differ by a prefix only (`{prefix}`): it was saved wrapped and is loaded unwrapped, or the other way round."
        cure = (fix[1],)
    elif found := SIZES.search(event.text):
        said = f"A layer is {found[2]} in the checkpoint and {found[3]} in the model: it was built with another size."
    return Hit([quote(event, primary=True)], Onset(time=event.time), cause=said, fix=cure)


def _prefix(one: str, other: str) -> str:
    """The usual prefix that turns one key into the other, "" if none does."""
    return next((p for p in PREFIXES if one == p + other or other == p + one), "")


fires_on = [
    raised(
        "RuntimeError: Error(s) in loading state_dict for UNet:\n\tsize mismatch for head.conv.weight: copying a param with shape "
        "torch.Size([21, 64, 1, 1]) from checkpoint, "
        "the shape in current model is torch.Size([5, 64, 1, 1]).",
        "another number of classes",
        code="model.load_state_dict(state)",
    ),
    raised(
        'RuntimeError: Error(s) in loading state_dict for Encoder:\n\tMissing key(s) in state_dict: "stem.weight". \n\tUnexpected key(s) '
        'in state_dict: "module.stem.weight". ',
        "a prefix",
        code="model.load_state_dict(state)",
    ),
    raised("tensorflow.python.framework.errors_impl.NotFoundError: Key decoder/dense_3/kernel not found in checkpoint", "TensorFlow"),
    raised(
        "ValueError: You are trying to load a weight file containing 18 layers into a model with 16 layers.",
        "Keras",
        code="model.load_weights(path)",
    ),
    first_words(
        "F0411 09:21:33.554102  4871 net.cpp:757] Cannot copy param 0 weights from layer 'fc7'; shape mismatch.  Source param shape is "
        "512 1024 (524288); target param shape is 512 2048 (1048576).",
        "Caffe",
    ),
]
quiet_on = [
    first_words("INFO loaded checkpoint: missing keys ['head.weight', 'head.bias'], unexpected keys []", "a new head, meant so"),
    first_words(
        "Some weights of BertForTokenTagging were not initialized from the model checkpoint and are newly initialized: "
        "['classifier.weight']",
        "a new head (transformers)",
    ),
    raised("RuntimeError: mat1 and mat2 shapes cannot be multiplied (8x30 and 31x4)", "shapes during training"),
    last_words("saving checkpoint, state_dict with 212 keys", "saving"),
]
