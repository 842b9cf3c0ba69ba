"""Every exception that specprobe raises on purpose.

SpecprobeError
├── ModelError              the file is not a model that specprobe can read
│   ├── UnsupportedOperator an operator that cannot be run or differentiated, or an opset out of reach
│   └── ExternalDataError   weights missing, linked, or outside the model's folder
├── ConfigError             also ValueError: an audit's configuration or baseline that cannot be read, or asks the impossible
├── RecipeError             also ValueError: a preprocessing recipe that cannot be read or does not fit the model
├── DataError               images or labels that cannot be read or do not fit the model
│   └── EmptyInput          also ValueError: nothing to analyse
├── InputMismatch           also ValueError: array shape, dtype, device or range
├── DeviceUnavailable       also RuntimeError: no runtime, no such device, or a provider that does not start
├── InvalidNumbers          also ArithmeticError: NaN or infinite logits, chance level where that is forbidden
└── CheckpointError         a partial result that belongs to another run

A message says what is wrong, with the value; where; what is accepted; what to do next.
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DeviceUnavailable",
    "EmptyInput",
    "ExternalDataError",
    "InputMismatch",
    "InvalidNumbers",
    "ModelError",
    "RecipeError",
    "SpecprobeError",
    "UnsupportedOperator",
]


class SpecprobeError(Exception):
    """Base of all errors that specprobe raises on purpose."""


class ModelError(SpecprobeError):
    """The file is not a model that specprobe can read or run."""


class UnsupportedOperator(ModelError):
    """An operator or opset lies outside what specprobe supports."""


class ExternalDataError(ModelError):
    """Weights kept in another file are missing, or lie where a model may not point."""


class ConfigError(SpecprobeError, ValueError):
    """The configuration or the baseline of an audit cannot be read, or asks for what does not exist."""


class RecipeError(SpecprobeError, ValueError):
    """A preprocessing recipe cannot be read, or does not fit the model."""


class DataError(SpecprobeError):
    """Images or labels cannot be read, or do not fit the model."""


class EmptyInput(DataError, ValueError):
    """There is nothing to analyse."""


class InputMismatch(SpecprobeError, ValueError):
    """An array has another shape, dtype, device or range than asked for."""


class DeviceUnavailable(SpecprobeError, RuntimeError):
    """No runtime is installed, or the device asked for does not start."""


class InvalidNumbers(SpecprobeError, ArithmeticError):
    """A model returned NaN or infinities, or stays at chance level where that is forbidden."""


class CheckpointError(SpecprobeError):
    """A saved partial result belongs to another run, or cannot be read."""
