"""What an audit is to look at: ``specprobe.toml``, or ``[tool.specprobe]`` in ``pyproject.toml``."""

from specprobe.audit.config.contents import Audit, Check, Severity, Waiver
from specprobe.audit.config.reading import find_config, read_config
from specprobe.audit.config.tables import ANALYSES

__all__ = ["ANALYSES", "Audit", "Check", "Severity", "Waiver", "find_config", "read_config"]
