"""Making every output a tensor of numbers: what classifiers of decision trees return beside their probabilities.

1. ZipMap(probabilities) -> the probabilities
2. any other sequence, map or string output is left out, where a plain output remains
"""

from __future__ import annotations

import onnx

from tamis.bundle.signature import DTYPES


def plain_outputs(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Return the model with plain outputs only, and a note on each that was changed."""
    if all(_is_plain(value) for value in model.graph.output):
        return model, []
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph, notes = changed.graph, []
    producers = {name: node for node in graph.node for name in node.output}
    outputs = []
    for value in graph.output:
        producer = producers.get(value.name)
        if _is_plain(value):
            outputs.append(value)
        elif producer is not None and producer.op_type == "ZipMap":
            source = producer.input[0]
            outputs.append(onnx.helper.make_tensor_value_info(source, onnx.TensorProto.FLOAT, [None, None]))
            notes.append(f"the output {value.name!r} is a list of dictionaries; its numbers are {source!r}")
            graph.node.remove(producer)
        else:
            notes.append(f"the output {value.name!r} holds no numbers and is left out")
    if not outputs:
        return model, []  # nothing would be left: reading the signature says what is wrong
    del graph.output[:]
    graph.output.extend(outputs)
    return changed, notes


def _is_plain(value: onnx.ValueInfoProto) -> bool:
    if value.type.WhichOneof("value") != "tensor_type" or not value.type.tensor_type.elem_type:
        return False
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name in DTYPES
