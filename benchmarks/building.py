"""Seconds that it takes to build the gradient of a chain, as the chain grows: linear, if the growth column says 1.

python benchmarks/building.py [NODES ...] [--rounds 3]
"""

import argparse
import time

import numpy as np
import onnx_ir as ir

from specprobe.autodiff import with_gradient

NODES = (1000, 2000, 4000, 8000, 5000)


def main() -> None:
    """Print one row a length."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("nodes", nargs="*", type=int, default=NODES)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    print(f"shortest of {chosen.rounds} rounds; growth: time a node over that of the first row")
    print(f"{'nodes':>6s} {'nodes made':>11s} {'seconds':>8s} {'growth':>7s}")
    with_gradient(chain(10))  # imports, and the rules' tables
    first = None
    for nodes in chosen.nodes:
        model = chain(nodes)
        spent, made = min(built(model) for _ in range(chosen.rounds))
        first = first or spent / nodes
        print(f"{nodes:6d} {made:11d} {spent:8.2f} {spent / nodes / first:7.2f}", flush=True)


def chain(nodes: int) -> ir.Model:
    """``nodes`` nodes, each reading the one before: Mul by a weight, Tanh, MatMul, Relu and so on."""
    rng = np.random.default_rng(0)
    weights = {
        "Mul": ir.Value(name="scale", const_value=ir.tensor(rng.random(8).astype(np.float32))),
        "MatMul": ir.Value(name="matrix", const_value=ir.tensor(rng.random((8, 8)).astype(np.float32))),
    }
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["N", 8]))
    made, last = [], x
    for i in range(nodes):
        operator = ("Mul", "Tanh", "MatMul", "Relu")[i % 4]
        inputs = [last, *([weights[operator]] if operator in weights else [])]
        made.append(ir.node(operator, inputs))
        last = made[-1].outputs[0]
        last.name = f"h{i}"
    last.type, last.shape = x.type, x.shape
    graph = ir.Graph(
        [x], [last], nodes=made, initializers=list(weights.values()), opset_imports={"": 18}, name="chain"
    )
    return ir.Model(graph, ir_version=10)


def built(model: ir.Model) -> tuple[float, int]:
    """Seconds, and nodes of the result."""
    start = time.perf_counter()
    gradient = with_gradient(model)
    return time.perf_counter() - start, len(list(gradient.graph))


if __name__ == "__main__":
    main()
