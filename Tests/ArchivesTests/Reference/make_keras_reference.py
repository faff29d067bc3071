"""Makes the small files of Keras 3 that Keras3Tests reads, and what is in them.

    KERAS_BACKEND=torch python3 Tests/ArchivesTests/Reference/make_keras_reference.py

Needs keras 3, h5py, numpy. Writes tiny.keras, tiny.weights.h5, tiny-keras3.h5, lambda.keras, lambda.h5 and keras3.json
(name, shape and first value of every array, by layer and variable as Keras names them).
"""

import json
import os

import keras
import numpy

HERE = os.path.dirname(os.path.abspath(__file__))
L = keras.layers

# Keras 3 calls the kernel of a depthwise convolution kernel; older versions, and Graft's names for numbered files, say
# depthwise_kernel.
DEPTHWISE = "depthwise_kernel"


def tiny():
    inputs = keras.Input((8, 8, 3), name="image")
    x = L.Conv2D(2, 3, use_bias=False, name="stem")(inputs)
    x = L.BatchNormalization(name="stem_norm")(x)
    x = L.DepthwiseConv2D(3, name="depth")(x)
    inner_input = keras.Input((4, 4, 2))
    y = L.Conv2D(2, 1, name="inner_conv")(inner_input)
    y = L.BatchNormalization(scale=False, name="inner_norm")(y)
    x = keras.Model(inner_input, y, name="inner")(x)
    x = L.GlobalAveragePooling2D()(x)
    x = L.Dropout(0.5)(x)
    return keras.Model(inputs, L.Dense(3, name="top")(x), name="tiny")


def fill(model):
    """Every array gets values of its own, so that the first tells which it is."""
    for number, variable in enumerate(model.weights):
        size = int(numpy.prod(variable.shape))
        variable.assign((numpy.arange(size, dtype="float32").reshape(variable.shape) + 1) / 64 + number)


def describe(model, numbered):
    entries = []
    for layer in model._flatten_layers(include_self=False):
        if not layer.weights or isinstance(layer, keras.Model):
            continue
        for variable in layer.weights:
            if "seed" in variable.name:
                continue
            name = variable.name
            if numbered and isinstance(layer, L.DepthwiseConv2D) and name == "kernel":
                name = DEPTHWISE
            value = keras.ops.convert_to_numpy(variable)
            label = f"{layer.name}/{name}:0" if numbered else variable.path
            entries.append({"name": label, "shape": list(value.shape), "first": float(value.ravel()[0])})
    return entries


def main():
    model = tiny()
    fill(model)
    model.compile(optimizer="sgd", loss="mse")
    model.optimizer.build(model.trainable_variables)
    model.save(os.path.join(HERE, "tiny.keras"))
    model.save_weights(os.path.join(HERE, "tiny.weights.h5"))
    model.save(os.path.join(HERE, "tiny-keras3.h5"), include_optimizer=False)
    expected = {
        "tiny.keras": describe(model, True), "tiny.weights.h5": describe(model, True),
        "tiny-keras3.h5": describe(model, False),
    }
    with open(os.path.join(HERE, "keras3.json"), "w") as file:
        json.dump(expected, file, separators=(",", ":"), sort_keys=True)
        file.write("\n")

    inputs = keras.Input((2,))
    x = L.Dense(2, name="first")(inputs)
    # The file holds the function with the name of its source, which is to be the same everywhere.
    double = eval(compile("lambda v: v * 2", "double.py", "eval"))
    code = keras.Model(inputs, L.Lambda(double, name="double")(x), name="code")
    code.save(os.path.join(HERE, "lambda.keras"))
    code.save(os.path.join(HERE, "lambda.h5"), include_optimizer=False)


if __name__ == "__main__":
    main()
