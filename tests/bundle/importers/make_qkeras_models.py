"""Make the QKeras models of the tests, with the outputs of Keras; needs tensorflow-cpu 2.15, qkeras 0.9.0, qonnx 0.4.0 and tf2onnx 1.16.1.

Run `python make_qkeras_models.py` beside this file; the tests need none of them. QONNX's converter drops quantisers of inputs, so the
inputs are multiples of 1/16 here.
"""

from pathlib import Path

import numpy as np
import onnx
import qkeras
import tensorflow as tf
from qonnx.converters import from_keras
from tensorflow.keras import layers

FOLDER = Path(__file__).with_name("qkeras_models")
ROWS = 64


def bits(width):
    """Return quantisers of weights and biases."""
    weights = {f"{part}_quantizer": qkeras.quantized_bits(width, 0, alpha=1) for part in ("kernel", "bias")}
    return {**weights, "bias_initializer": "random_normal"}


def dense(x):
    """Return the logits of a tagger of three layers."""
    for outputs in (16, 12):
        x = qkeras.QActivation(qkeras.quantized_relu(6, 2))(qkeras.QDense(outputs, **bits(6))(x))
    return qkeras.QDense(5, **bits(6))(x)


def image(x):
    """Return the outputs of a convolution, a pool and a dense layer; Keras has the channels last."""
    x = qkeras.QActivation(qkeras.quantized_relu(5, 1))(qkeras.QConv2D(4, 3, **bits(5))(x))
    return qkeras.QDense(3, **bits(5))(layers.Flatten()(layers.MaxPooling2D(2)(x)))


def ternary(x):
    """Return the logits of ternary weights."""
    x = qkeras.QDense(12, kernel_quantizer=qkeras.ternary(alpha=1, threshold=0.5), use_bias=False)(x)
    x = qkeras.QActivation(qkeras.quantized_relu(4, 2))(x)
    return qkeras.QDense(5, kernel_quantizer=qkeras.quantized_bits(4, 0, alpha=1), use_bias=False)(x)


def main() -> None:
    """Write the models and what they compute."""
    FOLDER.mkdir(exist_ok=True)
    tf.random.set_seed(3)
    rng = np.random.default_rng(1)
    cases = {}
    for make, shape in ((dense, (16,)), (image, (8, 8, 2)), (ternary, (16,))):
        name = f"qkeras-{make.__name__}"
        entry = layers.Input(shape)
        network = tf.keras.Model(entry, make(entry))
        x = rng.integers(-64, 64, (ROWS, *shape)).astype(np.float32) / 16
        cases[f"{name}/x"], cases[f"{name}/y"] = x, network.predict(x, verbose=0)
        specification = [tf.TensorSpec((None, *shape), tf.float32, name="x")]
        model, _ = from_keras(network, name, input_signature=specification, opset=13)
        onnx.save(model, FOLDER / f"{name}.onnx")
    np.savez_compressed(FOLDER / "cases.npz", **cases)


if __name__ == "__main__":
    main()
