"""The front of the command line: the group of commands, and the one place where errors end."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
import traceback

import click

import tamis
from tamis._base import TamisError, did_you_mean

COMMANDS = {
    "tune": "Find the fastest engine for each batch size on this host, and keep it with the bundle.",
    "bench": "Time engines against each other: latency, throughput, memory, loading.",
    "compare": "Compare two runs of a menu: events gained and lost, rates, time.",
    "demo": "Simulate collisions, decide them by the shipped menu, score them, write a report.",
    "evaluate": "Measure what a detector tells apart: ROC, efficiencies, baselines.",
    "export": "Write a bundle as a model of a Triton repository.",
    "farm": "Size a farm of inference servers from measured loads.",
    "inspect": "Tell what is in a bundle, a model or an event file.",
    "load": "Load an inference server: latency and throughput as a client sees them.",
    "menu": "Check a trigger menu and tell its order of work; its JSON Schema.",
    "pack": "Make a bundle of an ONNX, TorchScript or Keras 3 model.",
    "rates": "Measure the rates of a menu, and tune thresholds for a rate.",
    "report": "Draw records as one HTML page and figures.",
    "run": "Run a trigger menu over events.",
    "score": "Score events with a bundle.",
    "serve": "Serve models over the KServe v2 / Triton protocol.",
    "simulate": "Simulate proton-proton collisions.",
    "train": "Train a reference model and pack it.",
    "verify": "Compare engines with the float64 reference.",
}
INTERRUPTED = 130
INTERNAL_ERROR = 70


class Commands(click.Group):
    """Commands are imported when they are called, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            hint = did_you_mean(cmd_name, COMMANDS)
            ctx.fail(f"no command is called {cmd_name!r}; {hint}".rstrip("; "))
        command: click.Command = importlib.import_module(f"tamis.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tamis.__version__, prog_name="tamis")
def app() -> None:
    """From a trained model to a trigger decision inside a time budget, with every step proven.

    Wherever a bundle is asked for, the name of a shipped one (conv-vae, graph-vae) does as well.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error ends here, as one sentence and an exit code."""
    code = _run(arguments)
    if arguments is None:
        gc.freeze()  # the interpreter would look for cycles in all that is loaded once more, for a third of a second
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    try:
        app.main(args=arguments, prog_name="tamis", standalone_mode=False)
        sys.stdout.flush()  # a reader that has gone is to be noticed here, not when the interpreter ends
    except TamisError as error:
        return _tell(str(error), error.exit_code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # click takes it for Ctrl-D
            return _internal(error.__cause__)
        return _tell("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _leave_quietly()
    except SystemExit as error:  # click and rich leave by themselves, with 1, where the reader has gone
        return _leave_quietly() if error.code == 1 else int(error.code or 0)
    except OSError as error:
        return _tell(_operating_system(error), 1)
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence, never a traceback
        return _internal(error)
    return 0


def _internal(error: BaseException) -> int:
    if os.environ.get("TAMIS_TRACEBACK"):
        traceback.print_exception(error)
    return _tell(
        f"an error inside tamis, please report it: {type(error).__name__}: {error} "
        "(TAMIS_TRACEBACK=1 shows where)",
        INTERNAL_ERROR,
    )


def _operating_system(error: OSError) -> str:
    place = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full, so{place or ' the output'} was not written; nothing half-written is left"
    return f"the operating system refuses{place}: {error.strerror or error}"


def _leave_quietly() -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _tell(sentence: str, code: int) -> int:
    click.echo(f"tamis: {sentence}", err=True)
    return code
