"""Make every output a tensor of numbers: classifiers of decision trees return maps and strings as well.

1. ZipMap(probabilities) -> the probabilities
2. any other sequence, map or string output is dropped, if a tensor output remains
"""

from __future__ import annotations

import onnx

from tamis.bundle.signature import TENSOR_DTYPES


def plain_outputs(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Return the model with tensor outputs only, and a note on each changed output."""
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
            notes.append(
                f"the output {value.name!r} is a list of dictionaries; it is replaced by the tensor {source!r}"
            )
            graph.node.remove(producer)
        else:
            notes.append(f"the output {value.name!r} is not a numeric tensor and is dropped")
    if not outputs:
        return model, []  # reading the signature reports the error
    del graph.output[:]
    graph.output.extend(outputs)
    return changed, notes


def _is_plain(value: onnx.ValueInfoProto) -> bool:
    if value.type.WhichOneof("value") != "tensor_type" or not value.type.tensor_type.elem_type:
        return False
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name in TENSOR_DTYPES
