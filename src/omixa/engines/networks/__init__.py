"""Two small neural networks and how to run them on the processor. Their licences lie beside them.

Both come from `scripts/refresh_networks.py`. They need onnxruntime and numpy, which the extra `omixa[vision]` installs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal

from omixa.errors import EngineMissing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tensor = NDArray[np.float32]
    """Pictures as numbers: [1, channels, height, width]."""

NetworkName = Literal["u2net-p", "waifu2x-photo-2x"]

# Workers run side by side, so each network gets its share of the cores.
WORKERS: Final = 2


def load_network(name: NetworkName) -> Callable[[Tensor], Tensor]:
    """Return a network as a function of one tensor; it gives its first output. Raises EngineMissing without onnxruntime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineMissing(
            "This model needs onnxruntime, which is not installed on this server: pip install 'omixa[vision]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, (os.cpu_count() or 1) // WORKERS)
    options.inter_op_num_threads = 1
    # The arena keeps what the largest tile needed: three times the memory at the same speed.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(
        (files("omixa.engines.networks") / f"{name}.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    entrance = session.get_inputs()[0].name
    exit_ = session.get_outputs()[0].name

    def run(tensor: Tensor) -> Tensor:
        (made,) = session.run([exit_], {entrance: tensor})
        result: Any = made
        return result  # type: ignore[no-any-return]

    return run
