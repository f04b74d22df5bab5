"""Is the command there, and does its help come without heavy imports?"""

import subprocess
import sys

import pytest

from tests.timeseries.command.helpers import succeed


@pytest.mark.parametrize("command", ["classify", "forecast", "detect"])
def test_every_command_explains_itself(command: str) -> None:
    assert command in succeed("--help").stdout
    assert "--param" in succeed(command, "--help").stdout


def test_help_loads_no_heavy_package() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom sparsewire.timeseries import cli\n"
        "import typer\napp = typer.Typer()\ncli.register(app)\n"
        "assert CliRunner().invoke(app, ['ts', 'detect', '--help']).exit_code == 0\n"
        "print(sorted({'torch', 'pandas', 'sklearn', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
