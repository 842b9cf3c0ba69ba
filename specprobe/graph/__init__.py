"""ONNX graphs as data: opened safely, surveyed, extended. Knows no numerics and runs nothing."""
