"""A file that OpenCV reads as it reads YuNet's: the same inputs and outputs, made-up weights."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

STRIDES = (8, 16, 32)
WIDTHS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
KPS = (-0.5, -0.25, 0.5, -0.25, 0.0, 0.0, -0.25, 0.5, 0.25, 0.5)
"""Eyes, nose and mouth as (x, y) from a cell's corner, in cells."""


def yunet_file() -> bytes:
    """ONNX. Each red cell of 32 x 32 pixels is a face of 64 x 64, sure to 1, around the cell's
    upper left corner; of the smaller strides, and where blue and red are exchanged, none is."""
    nodes, weights, outputs = [], [], []
    bias = {"cls": (0.0,), "obj": (1.0,), "bbox": (0, 0, math.log(2), math.log(2)), "kps": KPS}
    for stride in STRIDES:
        sides = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes.append(helper.make_node("MaxPool", ["input"], [f"cells_{stride}"], **sides))
        for name, width in WIDTHS.items():
            out = f"{name}_{stride}"
            kernel = np.zeros((width, 3, 1, 1), np.float32)
            if out == "cls_32":
                kernel[0, 2] = 1 / 255  # blue, green, red
            constants = {
                f"{out}.w": kernel,
                f"{out}.b": np.asarray(bias[name], np.float32),
                f"{out}.shape": np.array([1, -1, width], np.int64),
            }
            weights += [numpy_helper.from_array(array, key) for key, array in constants.items()]
            map_, last = f"{out}.map", f"{out}.last"
            nodes += [
                helper.make_node("Conv", [f"cells_{stride}", f"{out}.w", f"{out}.b"], [map_]),
                helper.make_node("Transpose", [map_], [last], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [last, f"{out}.shape"], [out]),
            ]
    for name, width in WIDTHS.items():
        for stride in STRIDES:
            shape = [1, (640 // stride) ** 2, width]
            outputs.append(helper.make_tensor_value_info(f"{name}_{stride}", 1, shape))
    image = helper.make_tensor_value_info("input", 1, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "yunet", [image], outputs, weights)
    opset = helper.make_opsetid("", 11)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=6)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
