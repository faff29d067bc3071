"""Compares the reference logits of the published Keras MobileNetV1 with what Keras itself gives.

    KERAS_BACKEND=torch python check_with_keras.py DATA_FOLDER        # keras, torch, numpy

Keras 3.15.1 (backend PyTorch) agreed to 3e-6 of the largest logit.
"""
import json
import sys
from pathlib import Path

import keras
import numpy as np

HERE = Path(__file__).parent
pixels = np.fromfile(HERE / "photographs.bin", dtype=np.uint8).reshape(5, 100, 100, 3)
places = np.arange(224) * 100 // 224
images = pixels[:, places][:, :, places].astype(np.float32) / 127.5 - 1
network = keras.applications.MobileNet(
    alpha=0.25, weights=None, input_shape=(224, 224, 3), classifier_activation=None)
network.load_weights(Path(sys.argv[1]) / "weights/imagenet-mobilenetv1-0.25-keras/mobilenet_v1_0.25_224.h5")
found = network.predict(images, verbose=0)
expected = np.array(json.loads((HERE / "reference.json").read_text())["published"]["mobilenet_v1_0.25-keras"])
error = np.abs(found.flatten() - expected).max() / np.abs(expected).max()
print(f"Keras {keras.__version__}: {error:.1e} of the largest logit")
sys.exit(1 if error > 1e-4 else 0)
