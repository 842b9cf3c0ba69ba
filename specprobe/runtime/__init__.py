"""Runs ONNX graphs. The only package that imports onnxruntime."""
