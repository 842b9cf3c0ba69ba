"""Sessions: tests, parity, lint, types, docs, wheel, lowest, nightly. ``nox -s tests`` runs one."""

from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint", "types", "docs"]


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Whole suite, from the tree."""
    session.install("-e", ".[test]")
    session.run("pytest", "--cov", *session.posargs)


@nox.session
def parity(session: nox.Session) -> None:
    """Gradients against PyTorch's."""
    session.install("-e", ".[test]")
    session.install("torch==2.13.0", "onnxscript")
    session.run("pytest", "-m", "torch", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install("ruff>=0.12")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Generated pages are current, and the site builds."""
    session.install("-e", ".[test,docs]")
    session.run("python", "docs/reference/generate.py", "--check")
    session.run("python", "docs/operators.py", "--check")
    session.run("mkdocs", "build", "--strict")


@nox.session
def wheel(session: nox.Session) -> None:
    """What is published works when the source tree is not there."""
    session.install("build")
    folder = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--outdir", folder)
    (built,) = Path(folder).glob("*.whl")
    session.install(f"specprobe[cpu] @ {built.resolve().as_uri()}")
    session.chdir(folder)
    session.run("specprobe", "doctor")


@nox.session
def lowest(session: nox.Session) -> None:
    """Earliest versions that the metadata admits."""
    session.install("uv")
    session.run("uv", "pip", "install", "--resolution", "lowest-direct", "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """Pre-releases of the packages that move fastest."""
    session.install("-e", ".[test]")
    session.install("--pre", "--upgrade", "onnx", "onnx-ir", "onnxruntime")
    session.run("pytest", *session.posargs)
