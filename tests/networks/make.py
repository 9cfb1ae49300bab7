"""Make the network files of tests/test_network_files.py. Not run by the tests.

One small network (a MobileNet with one residual block, seeded random weights) written by each
framework, and what that framework makes of the picture ``picture()``. Each part needs its own
environment, none of which is regraft's:

    pip install tensorflow-cpu==2.21.0 && python make.py tensorflow   # .tflite, SavedModel, .pb
    pip install onnx==1.23.2           && python make.py onnx         # .onnx
    pip install paddlepaddle==3.3.1    && python make.py paddle       # .pdmodel
    pip install torch openvino         && python make.py torch        # OpenVINO IR

``expected.json`` gets the scores that each framework gave.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SIZE, CLASSES = 32, 5


def picture(channels: int = 3) -> np.ndarray:
    """(32, 32, channels), uint8: waves, so that every axis and channel matters."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    waves = [np.sin(rows / (3 + k) + k) * np.cos(columns / (5 - k)) for k in range(channels)]
    return np.stack([127.5 + 127.5 * wave for wave in waves], axis=-1).astype(np.uint8)


def normalised(channels: int = 3) -> np.ndarray:
    """What the float networks take: (1, 32, 32, channels) from -1 to 1."""
    return (picture(channels)[None] / np.float32(127.5) - 1).astype(np.float32)


def weights(channels: int = 3) -> dict[str, np.ndarray]:
    """Convolutions are (out, in, height, width), the depthwise ones (channels, 1, 3, 3)."""
    rng = np.random.default_rng(7)
    shapes = {
        "stem": (8, channels, 3, 3),
        "expand": (16, 8, 1, 1),
        "depth": (16, 1, 3, 3),
        "project": (8, 16, 1, 1),
        "deep": (8, 1, 3, 3),
        "wide": (12, 8, 1, 1),
        "last": (20, 12, 1, 1),
        "head": (CLASSES, 20),
    }
    made = {}
    for name, shape in shapes.items():
        scale = 1.5 / np.sqrt(np.prod(shape[1:]))
        made[name] = (scale * rng.standard_normal(shape)).astype(np.float32)
        made[f"{name}_bias"] = (0.1 * rng.standard_normal(shape[0])).astype(np.float32)
    made["head"] *= 4  # so that the scores differ
    return made


def keep(**found: np.ndarray) -> None:
    """Add scores to ``expected.json``."""
    path = HERE / "expected.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known |= {name: [round(float(x), 7) for x in np.ravel(v)] for name, v in found.items()}
    path.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def make_tensorflow() -> None:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    w = weights()
    layers = tf.keras.layers
    given = x = tf.keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(8, 3, 2, "same", activation="relu6", name="stem")(x)
    skip = x
    x = layers.Conv2D(16, 1, activation="relu6", name="expand")(x)
    x = layers.DepthwiseConv2D(3, 1, "same", activation="relu6", name="depth")(x)
    x = layers.Conv2D(8, 1, name="project")(x)
    x = layers.Add(name="add")([x, skip])
    x = layers.DepthwiseConv2D(3, 2, "same", activation="relu6", name="deep")(x)
    x = layers.Conv2D(12, 1, activation="relu6", name="wide")(x)
    x = layers.Conv2D(20, 1, activation="relu6", name="last")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(CLASSES, activation="softmax", name="head")(x)
    model = tf.keras.Model(given, x)
    for layer in model.layers:
        if layer.name in w:
            kernel = w[layer.name]
            if kernel.ndim == 4:
                turn = (2, 3, 0, 1) if layer.name in ("depth", "deep") else (2, 3, 1, 0)
                kernel = kernel.transpose(turn)
            else:
                kernel = kernel.T
            layer.set_weights([kernel, w[f"{layer.name}_bias"]])
    scores = model(normalised()).numpy()
    shutil.rmtree(HERE / "saved_model", ignore_errors=True)
    module = tf.Module()
    module.kept = [variable.value for variable in model.variables]
    taken = tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)
    module.call = tf.function(model, input_signature=[taken])
    tf.saved_model.save(module, HERE / "saved_model", module.call.get_concrete_function())
    (HERE / "saved_model" / "fingerprint.pb").unlink(missing_ok=True)
    call = tf.function(model, input_signature=[tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32)])
    frozen = convert_variables_to_constants_v2(call.get_concrete_function())
    (HERE / "frozen.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
    keep(saved_model=scores, frozen=scores)

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (HERE / "float.tflite").write_bytes(converter.convert())
    _state_normalisation(HERE / "float.tflite", HERE / "stated.tflite")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(3)
    converter.representative_dataset = lambda: (
        [x] for x in [normalised(), *rng.uniform(-1, 1, (9, 1, SIZE, SIZE, 3)).astype("float32")]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    for name, kind in (("uint8", tf.uint8), ("int8", tf.int8)):
        converter.inference_input_type = converter.inference_output_type = kind
        (HERE / f"{name}.tflite").write_bytes(converter.convert())
    shift = picture()[None].astype(np.int16) - 128
    for name, taken in (
        ("float", normalised()),
        ("uint8", picture()[None]),
        ("int8", shift.astype(np.int8)),
    ):
        lite = tf.lite.Interpreter(str(HERE / f"{name}.tflite"))
        lite.allocate_tensors()
        lite.set_tensor(lite.get_input_details()[0]["index"], taken)
        lite.invoke()
        keep(**{f"{name}_tflite": lite.get_tensor(lite.get_output_details()[0]["index"])})


def _state_normalisation(source: Path, target: Path) -> None:
    """Add metadata: mean and std 127.5, a licence. Fields are numbered as in their schemas."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    built = flatbuffers.Builder()

    def table(size, **fields):
        built.StartObject(size)
        for slot, (value, is_byte) in ((int(k[1:]), v) for k, v in fields.items()):
            if is_byte:
                built.PrependUint8Slot(slot, value, 0)
            else:
                built.PrependUOffsetTRelativeSlot(slot, value, 0)
        return built.EndObject()

    def vector(*tables):
        built.StartVector(4, len(tables), 4)
        for one in reversed(tables):
            built.PrependUOffsetTRelative(one)
        return built.EndVector()

    licence = built.CreateString("Apache License. Version 2.0")
    values = [built.CreateNumpyVector(np.array([127.5] * 3, dtype="f4")) for _ in range(2)]
    options = table(2, f0=(values[0], False), f1=(values[1], False))
    unit = table(2, f0=(1, True), f1=(options, False))
    tensor = table(7, f4=(vector(unit), False))
    graph = table(3, f2=(vector(tensor), False))
    built.Finish(table(8, f3=(vector(graph), False), f5=(licence, False)), b"M001")

    model = flatbuffer_utils.read_model(str(source))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(bytes(built.Output()), dtype=np.uint8)
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    flatbuffer_utils.write_model(model, str(target))


def make_onnx() -> None:
    from onnx import TensorProto, checker, helper, numpy_helper, save
    from onnx.reference import ReferenceEvaluator

    def write(name, nodes, inputs, outputs, constants, metadata=()):
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(*value) for value in inputs],
            [helper.make_tensor_value_info(*value) for value in outputs],
            [numpy_helper.from_array(value, key) for key, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        helper.set_model_props(model, dict(metadata))
        checker.check_model(model, full_check=True)
        save(model, HERE / f"{name}.onnx")
        return model

    def conv(name, source, stride=1, pad=0, group=1, relu=True):
        out = f"{name}_conv" if relu else name
        made = [
            helper.make_node(
                "Conv",
                [source, name, f"{name}_bias"],
                [out],
                f"/{name}/Conv",
                strides=[stride, stride],
                pads=[pad] * 4,
                group=group,
            )
        ]
        if relu:
            made.append(helper.make_node("Relu", [out], [f"{name}_out"], f"/{name}/Relu"))
        return made

    def trunk():
        return [
            *conv("stem", "pixels", 2, 1),
            *conv("expand", "stem_out"),
            *conv("depth", "expand_out", 1, 1, 16),
            *conv("project", "depth_out", relu=False),
            helper.make_node("Add", ["project", "stem_out"], ["added"], "/add/Add"),
            *conv("deep", "added", 2, 1, 8),
            *conv("wide", "deep_out"),
            *conv("last", "wide_out"),
        ]

    def tail():
        return [
            helper.make_node("GlobalAveragePool", ["last_out"], ["pooled"], "/pool"),
            helper.make_node("Reshape", ["pooled", "flat"], ["vector"], "/flatten"),
            helper.make_node(
                "Gemm", ["vector", "head", "head_bias"], ["scores"], "/head", transB=1
            ),
        ]

    def constants(channels=3):
        made = weights(channels)
        # A batch of one in the constant, as exporters without a variable batch size leave it.
        return {**made, "flat": np.array([1, 20])}

    def rename(values):  # an initialiser and a node's output may not share a name
        return {("project_w" if k == "project" else k): v for k, v in values.items()}

    def fixed(nodes):
        for node in nodes:
            node.input[:] = [
                "project_w" if n == "project" and node.op_type == "Conv" else n for n in node.input
            ]
        return nodes

    floats, longs = TensorProto.FLOAT, TensorProto.INT64
    nodes = fixed([*trunk(), *tail()])
    pixels = ("pixels", floats, [1, 3, SIZE, SIZE])
    scores = ("scores", floats, [1, CLASSES])
    chw = normalised().transpose(0, 3, 1, 2)
    model = write("mobile", nodes, [pixels], [scores], rename(constants()))
    keep(mobile_onnx=ReferenceEvaluator(model).run(None, {"pixels": chw})[0])
    info = {
        "model_info mean_values": "127.5 127.5 127.5",
        "model_info scale_values": "127.5 127.5 127.5",
        "model_info reverse_input_channels": "False",
        "model_info resize_type": "standard",
    }
    write("stated", nodes, [pixels], [scores], rename(constants()), info)
    free = ("pixels", floats, ["n", 3, "h", "w"])
    write("any_size", nodes, [free], [scores], rename(constants()))
    grey = ("pixels", floats, [1, 1, SIZE, SIZE])
    write("grey", nodes, [grey], [scores], rename(constants(1)))
    write(
        "two_outputs",
        nodes,
        [pixels],
        [scores, ("added", floats, [1, 8, SIZE // 2, SIZE // 2])],
        rename(constants()),
    )
    write(
        "headless",
        fixed([*trunk(), tail()[0]]),
        [pixels],
        [("pooled", floats, [1, 20, 1, 1])],
        {k: v for k, v in rename(constants()).items() if k[:4] not in ("head", "flat")},
    )

    rng = np.random.default_rng(5)
    width, places = 8, 16
    nodes = [
        helper.make_node(
            "Conv", ["pixels", "patch"], ["patches"], "/patch", strides=[8, 8], kernel_shape=[8, 8]
        ),
        helper.make_node("Reshape", ["patches", "rows"], ["flat"], "/rows"),
        helper.make_node("Transpose", ["flat"], ["tokens"], "/tokens", perm=[0, 2, 1]),
        helper.make_node("Concat", ["class", "tokens"], ["joined"], "/join", axis=1),
        helper.make_node("Add", ["joined", "position"], ["x0"], "/position"),
        helper.make_node("MatMul", ["x0", "query"], ["q"], "/query"),
        helper.make_node("Transpose", ["x0"], ["k"], "/key", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "k"], ["weights"], "/products"),
        helper.make_node("Softmax", ["weights"], ["attention"], "/attention", axis=-1),
        helper.make_node("MatMul", ["attention", "x0"], ["mixed"], "/mixed"),
        helper.make_node("Add", ["mixed", "x0"], ["x1"], "/block/Add"),
        helper.make_node("MatMul", ["x1", "mlp"], ["m"], "/mlp"),
        helper.make_node("Tanh", ["m"], ["t"], "/tanh"),
        helper.make_node("Add", ["t", "x1"], ["x2"], "/block/Add_1"),
        helper.make_node("Gather", ["x2", "first"], ["vector"], "/class", axis=1),
        helper.make_node("MatMul", ["vector", "head"], ["scores"], "/head"),
    ]
    drawn = {
        "patch": (width, 3, 8, 8),
        "class": (1, 1, width),
        "position": (1, places + 1, width),
        "query": (width, width),
        "mlp": (width, width),
        "head": (width, CLASSES),
    }
    made = {
        k: (rng.standard_normal(s) / np.sqrt(np.prod(s[1:]) if k == "patch" else 8)).astype("f4")
        for k, s in drawn.items()
    }
    made |= {"rows": np.array([1, width, places]), "first": np.array(0)}
    model = write("tokens", nodes, [pixels], [scores], made)
    keep(tokens_onnx=ReferenceEvaluator(model).run(None, {"pixels": chw})[0])

    write(
        "text",
        [
            helper.make_node("Gather", ["table", "ids"], ["words"]),
            helper.make_node("ReduceMean", ["words"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["mean", "head"], ["scores"]),
        ],
        [("ids", longs, [1, 16])],
        [scores],
        {"table": np.ones((50, 8), "f4"), "head": np.ones((8, CLASSES), "f4")},
    )
    write(
        "audio",
        [helper.make_node("MatMul", ["samples", "head"], ["scores"])],
        [("samples", floats, ["n", 400])],
        [("scores", floats, ["n", CLASSES])],
        {"head": np.ones((400, CLASSES), "f4")},
    )
    write(
        "two_inputs",
        [
            helper.make_node("Add", ["left", "right"], ["both"]),
            helper.make_node("GlobalAveragePool", ["both"], ["pooled"]),
        ],
        [(name, floats, [1, 3, SIZE, SIZE]) for name in ("left", "right")],
        [("pooled", floats, [1, 3, 1, 1])],
        {},
    )


def make_paddle() -> None:
    # .pdmodel and not .json, which OpenVINO cannot read
    os.environ["FLAGS_enable_pir_api"] = "0"  # noqa: SIM112
    import paddle
    from paddle.base.proto import framework_pb2

    paddle.enable_static()
    w = weights()
    program, start = paddle.static.Program(), paddle.static.Program()
    initial = paddle.nn.initializer.Assign

    def conv(x, name, stride=1, pad=0, groups=1, relu=True):
        kernel = paddle.static.create_parameter(
            w[name].shape, "float32", f"{name}_w", default_initializer=initial(w[name])
        )
        bias = paddle.static.create_parameter(
            w[f"{name}_bias"].shape,
            "float32",
            f"{name}_b",
            default_initializer=initial(w[f"{name}_bias"]),
        )
        x = paddle.nn.functional.conv2d(x, kernel, bias, stride, pad, groups=groups)
        return paddle.nn.functional.relu(x) if relu else x

    with paddle.static.program_guard(program, start):
        pixels = paddle.static.data("pixels", [-1, 3, SIZE, SIZE], "float32")
        x = conv(pixels, "stem", 2, 1)
        y = conv(conv(conv(x, "expand"), "depth", 1, 1, 16), "project", relu=False)
        x = conv(conv(conv(x + y, "deep", 2, 1, 8), "wide"), "last")
        x = paddle.nn.functional.adaptive_avg_pool2d(x, 1)
        x = paddle.flatten(x, 1)
        head = paddle.static.create_parameter(
            [20, CLASSES], "float32", "head_w", default_initializer=initial(w["head"].T.copy())
        )
        bias = paddle.static.create_parameter(
            [CLASSES], "float32", "head_b", default_initializer=initial(w["head_bias"])
        )
        scores = paddle.nn.functional.softmax(paddle.nn.functional.linear(x, head, bias))
        runner = paddle.static.Executor(paddle.CPUPlace())
        runner.run(start)
        chw = np.ascontiguousarray(normalised().transpose(0, 3, 1, 2))
        found = runner.run(program, {"pixels": chw}, [scores])[0]
        paddle.static.save_inference_model(
            str(HERE / "paddle"), [pixels], [scores], runner, program=program
        )
    description = framework_pb2.ProgramDesc.FromString((HERE / "paddle.pdmodel").read_bytes())
    for block in description.blocks:
        for op in block.ops:  # where in this file it was made, with the paths of the machine
            kept = [value for value in op.attrs if value.name != "op_callstack"]
            del op.attrs[:]
            op.attrs.extend(kept)
    (HERE / "paddle.pdmodel").write_bytes(description.SerializeToString())
    keep(paddle=found)


def make_torch() -> None:
    sys.modules["openvino_telemetry"] = None  # OpenVINO makes do without its report home
    import openvino
    import torch

    w = {name: torch.from_numpy(value) for name, value in weights().items()}

    class Mobile(torch.nn.Module):
        def forward(self, x):
            def conv(x, name, stride=1, pad=0, groups=1):
                return torch.nn.functional.conv2d(
                    x, w[name], w[f"{name}_bias"], stride, pad, 1, groups
                )

            x = conv(x, "stem", 2, 1).relu()
            y = conv(conv(conv(x, "expand").relu(), "depth", 1, 1, 16).relu(), "project")
            x = conv(conv(x + y, "deep", 2, 1, 8).relu(), "wide").relu()
            x = conv(x, "last").relu().mean((2, 3))
            return torch.softmax(torch.nn.functional.linear(x, w["head"], w["head_bias"]), 1)

    chw = torch.from_numpy(np.ascontiguousarray(normalised().transpose(0, 3, 1, 2)))
    keep(ir=Mobile()(chw).numpy())
    model = openvino.convert_model(Mobile(), example_input=chw, input=[-1, 3, SIZE, SIZE])
    for key, value in (("mean_values", "127.5"), ("scale_values", "127.5")):
        model.set_rt_info(value, ["model_info", key])
    openvino.save_model(model, HERE / "ir.xml", compress_to_fp16=False)


if __name__ == "__main__":
    globals()[f"make_{sys.argv[1]}"]()
