import gc
from io import StringIO

import pytest
from rich.console import Console

from flows.cli.foreground_run import StartRun, run_to_its_end
from flows.cli.live_output import LiveOutput


def test_interrupt_while_prefect_is_imported_leaves_nothing() -> None:
    shown = StringIO()

    def interrupted() -> StartRun:
        assert not gc.isenabled()
        raise KeyboardInterrupt

    assert run_to_its_end(interrupted, None, LiveOutput(Console(file=shown, width=200))) is None

    assert "nothing is left behind" in shown.getvalue()
    assert gc.isenabled()


def test_import_that_fails_does_not_leave_the_collector_off() -> None:

    def broken() -> StartRun:
        raise ImportError("no such module")

    with pytest.raises(ImportError, match="no such module"):
        run_to_its_end(broken, None, LiveOutput(Console(file=StringIO())))

    assert gc.isenabled()
