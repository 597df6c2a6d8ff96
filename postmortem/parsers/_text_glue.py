"""Takes apart lines that should have been several: progress bars printed one behind the other without a carriage return."""

from __future__ import annotations

import re

# A new bar or a new epoch that begins in the middle of a line, right behind the end of another one.
_BORDER = re.compile(
    r"(?<=\])(?=(?:[A-Z][\w ]{0,40}:?\s*)?\s*\d{1,3}%\|)"  # tqdm: "...loss=5.34]Epoch 0:   7%|"
    r"|(?<=[0-9a-z\])])(?=Epoch:?\s\[?\d+/\d+)"  # Keras: "loss: nanEpoch 1/1000"
    r"|(?<=[0-9a-z])\s*(?=\b\d+/\d+ \[[=>.]{8})(?<!\d)"  # Keras: "acc: 0.5  2/100 [>....."
    r"|(?<=it/s\]|s/it\])(?=[A-Z\[{0-9])"
)

GLUE_WORDS = ("%|", "it]", "it/s]", "s/it]", "Epoch", " [=", " [>", " [.")  # a glued line holds one of these


def unglued(segment: str) -> list[str]:
    """The segment in pieces, mostly one."""
    if not may_be_glued(segment):
        return [segment]
    cuts = [match.end() for match in _BORDER.finditer(segment)]
    if not cuts:
        return [segment]
    return [segment[a:b] for a, b in zip([0, *cuts], [*cuts, len(segment)], strict=True)]


def may_be_glued(segment: str) -> bool:
    """A quick look whether there may be a border."""
    return any(word in segment for word in GLUE_WORDS)
