"""The public names of the package, and what importing it costs."""

import subprocess
import sys
from importlib import import_module

import pytest

import secure_bfl
from tests.arch.sources import ROOT


@pytest.mark.parametrize("name", secure_bfl.__all__)
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(secure_bfl, name)
    assert value.__name__ == name
    home = secure_bfl._MODULE_OF[name]
    assert value.__module__ == f"secure_bfl.{home}"
    assert name in import_module(f"secure_bfl.{home}").__all__


def test_the_list_is_complete_and_in_order() -> None:
    assert set(secure_bfl.__all__) == set(secure_bfl._MODULE_OF)
    assert len(secure_bfl.__all__) == len(set(secure_bfl.__all__))


@pytest.mark.parametrize("name", ["nothing", "run_demo", "__path", "Clients"])
def test_other_names_do_not_exist(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'secure_bfl' has no attribute '{name}'"):
        getattr(secure_bfl, name)


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, secure_bfl\n"
        "heavy = {'torch', 'opacus', 'sklearn', 'numpy', 'tenseal', 'rich', 'dp_accounting'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "secure_bfl.Role\n"
        "assert 'torch' not in sys.modules\n"
        "secure_bfl.FederationPlan\n"
        "assert 'torch' not in sys.modules, 'planning needs no torch'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
