"""postmortem reads a finished ML training run directory and says what went wrong first.

    from postmortem import examine
    diagnosis = examine("runs/last")
    print(diagnosis.headline, diagnosis.causes)

Names are fetched when they are first asked for (PEP 562), so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postmortem.examine import examine as examine
    from postmortem.examine import frame_of as frame_of
    from postmortem.model import Diagnosis as Diagnosis
    from postmortem.model import Evidence as Evidence
    from postmortem.model import Finding as Finding

__version__ = "0.1.0"

_WHERE = {
    "examine": "postmortem.examine",
    "frame_of": "postmortem.examine",
    "Diagnosis": "postmortem.model",
    "Evidence": "postmortem.model",
    "Finding": "postmortem.model",
}
__all__ = ["Diagnosis", "Evidence", "Finding", "__version__", "examine", "frame_of"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
