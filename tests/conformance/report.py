"""Run all of ONNX's node cases and print which operators' gradients pass.

python tests/conformance/report.py [PATTERN]
"""

import fnmatch
import sys
from collections import defaultdict

import judge  # type: ignore[import-not-found]  # beside this script


def main() -> int:
    """Print; the exit code is 1 where a gradient is wrong."""
    pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    passed = differentiable = total = 0
    for case in judge.cases():
        if not fnmatch.fnmatchcase(case.name, pattern):
            continue
        verdict = judge.judge(case)
        total += 1
        passed += verdict.kind == "passed"
        differentiable += verdict.differentiable
        if verdict.kind != "passed":
            groups[verdict.kind][judge.subject(case, verdict)].append(f"{case.name}: {verdict.detail}")
    write = sys.stdout.write
    for kind, operators in sorted(groups.items()):
        write(f"\n{kind}\n")
        for operator, lines in sorted(operators.items()):
            write(f"  {operator}: {len(lines)}\n")
            if kind != "no rule":
                write("".join(f"    {line[:240]}\n" for line in lines))
    write(f"\n{passed} passed / {differentiable} differentiable / {total} total\n")
    return 1 if {"wrong number", "broken"} & groups.keys() else 0


if __name__ == "__main__":
    sys.exit(main())
