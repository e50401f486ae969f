"""An ONNX file as a network that can learn: real modules where layers were, functions between.

net         OnnxNet: the graph, its weights as parameters, run node by node
parse       the file's graph as plain nodes, those in bodies too
bodies      If and Loop: decided and unrolled while the network is traced
arguments   what one node sees: tensors, sizes known beforehand, attributes
sizes       shape arithmetic on plain numbers, done while the network is traced
program     the same as a Program, with its integer weights
layers · arithmetic · moves      what each op computes, by torch
"""

from lighten.network.onnx_in.net import OPSETS, OnnxNet, read_onnx
from lighten.network.onnx_in.program import examples, to_program

__all__ = ["OPSETS", "OnnxNet", "examples", "read_onnx", "to_program"]
