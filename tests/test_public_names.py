"""Every name that is promised exists, and is the one promised."""

import importlib
import pkgutil

import pytest

import specprobe

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(specprobe.__path__, "specprobe.")
    if "__main__" not in module.name
)


@pytest.mark.parametrize("module", MODULES)
def test_promised_names_exist(module: str) -> None:
    found = importlib.import_module(module)
    names = getattr(found, "__all__", [])
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(found, name)] == []
    assert [name for name in names if name.startswith("_")] == []


@pytest.mark.parametrize("name", specprobe.__all__)
def test_names_of_the_package_are_imported_on_demand(name: str) -> None:
    value = getattr(specprobe, name)
    if name != "__version__":
        assert callable(value)
        assert value is getattr(importlib.import_module(specprobe._HOMES[name]), name)


def test_the_package_lists_its_names() -> None:
    assert dir(specprobe) == sorted(specprobe.__all__)
    assert set(specprobe._HOMES) == set(specprobe.__all__) - {"__version__"}


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="module 'specprobe' has no attribute 'lode'"):
        specprobe.lode  # noqa: B018 - the access is the test
