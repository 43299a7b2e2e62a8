"""Other formats of a trained model."""

from typing import Literal

Format = Literal["stablehlo", "safetensors", "npz", "onnx", "keras", "html", "word2vec"]
