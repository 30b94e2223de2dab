"""The command group, and the one place that turns errors into messages and exit codes."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
import traceback

import click

import tamis
from tamis._base import MissingExtraError, TamisError, UsageError, did_you_mean

COMMANDS = {
    "annotate": "Acknowledge, comment or override the verdict on a luminosity block, by name.",
    "bench": "Compare engines in latency, throughput, memory and loading time.",
    "certify": "Write the certified blocks of a monitored stream: golden JSON, good-run list, DIALS.",
    "compare": "Compare two runs of a menu: events gained and lost, rates, time.",
    "compare-tracks": "Compare two files of tracks, stage by stage.",
    "compress": "Make a model cheaper: prune, quantise to fixed point, retrain, verify.",
    "count": "Count what one event costs in a bundle: operations, bits, LUTs, weights, energy.",
    "demo": "Simulate collisions, run the shipped trigger menu on them, score them, write a report.",
    "doctor": "Show what this host has, and what each missing thing would bring.",
    "evaluate": "Measure the separation of signal and background: ROC, efficiencies, baselines.",
    "export": "Export a bundle as C source or as a Triton model repository.",
    "farm": "Size a farm of inference servers from load measurements.",
    "firmware": "Make the hardware of a quantised bundle: Verilog, verified bit by bit.",
    "inspect": "Show the contents of a bundle, a model or an event file.",
    "load": "Load-test an inference server: latency and throughput seen by a client.",
    "menu": "Check a trigger menu and show its execution order, or print its JSON Schema.",
    "models": "List the shipped bundles, what they do and what they cost; show one with its card.",
    "monitor": "Watch a detector while it takes data: judge and explain every luminosity block.",
    "pack": "Pack an ONNX, TorchScript, Keras 3, XGBoost or LightGBM model into a bundle.",
    "place": "Place the stages of the tracking on CPU and GPU: throughput, latency, what to buy.",
    "rates": "Measure the rates of a menu, and tune thresholds for a rate.",
    "report": "Draw records as figures and an HTML page.",
    "run": "Run a trigger menu over events.",
    "score": "Score events with a bundle.",
    "serve": "Serve models over the KServe v2 / Triton protocol.",
    "simulate": "Simulate proton-proton collisions, or samples of detector arrays.",
    "solenoid": "Write the field map of a solenoid, for the simulation and reconstruction of tracks.",
    "track": "Reconstruct tracks from the cells of a silicon detector.",
    "train": "Train a reference model and pack it.",
    "tune": "Find the fastest engine for each batch size on this host, and store the choice in the bundle.",
    "verify": "Compare engines with the float64 reference.",
}
# The order of work, for the list of commands.
SECTIONS = {
    "Start": ("demo", "doctor"),
    "Events": ("simulate", "solenoid", "inspect"),
    "Models": (
        "models",
        "pack",
        "verify",
        "tune",
        "bench",
        "score",
        "train",
        "evaluate",
        "compress",
        "count",
        "export",
        "firmware",
    ),
    "Trigger": ("menu", "run", "rates", "compare"),
    "Reconstruction": ("track", "compare-tracks", "place"),
    "Data quality": ("monitor", "annotate", "certify"),
    "Servers": ("serve", "load", "farm"),
    "Results": ("report",),
}
INTERRUPTED = 130
INTERNAL_ERROR = 70


class Commands(click.Group):
    """A group that imports each command when it is called, so that `--help` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            hint = did_you_mean(cmd_name, COMMANDS)
            ctx.fail(f"no command is called {cmd_name!r}; {hint}".rstrip("; "))
        command: click.Command = importlib.import_module(f"tamis.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands in the order of work, without importing them."""
        del ctx
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name]) for name in names if name in COMMANDS])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tamis.__version__, prog_name="tamis")
def app() -> None:
    """From a trained model to a trigger decision inside a time budget, with every step proven.

    Commands that take a bundle also take the name of a shipped one, such as conv-vae or graph-vae.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; every error becomes one sentence and an exit code."""
    code = _run(arguments)
    if arguments is None:
        gc.freeze()  # skips the garbage collection at exit, which takes a third of a second
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    try:
        app.main(args=arguments, prog_name="tamis", standalone_mode=False)
        sys.stdout.flush()  # raise BrokenPipeError here, not at interpreter exit
    except TamisError as error:
        return _fail(str(error), error.exit_code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # click treats EOFError as Ctrl-D
            return _fail_internally(error.__cause__)
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _ignore_closed_pipe()
    except SystemExit as error:  # click and rich exit with 1 when the pipe is closed
        return _ignore_closed_pipe() if error.code == 1 else int(error.code or 0)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            place = error.filename or "the output"
            return _fail(f"the disk is full: {place} was not written, and partial files were removed", 1)
        if error.errno == errno.EEXIST:
            return _fail(
                f"{error.filename} exists already: choose another path, or remove it", UsageError.exit_code
            )
        return _fail(f"{error.filename or 'system error'}: {error.strerror or error}", 1)
    except Exception as error:  # noqa: BLE001 - the last resort: a message, never a traceback
        return _fail_internally(error)
    return 0


def _fail_internally(error: BaseException) -> int:
    if os.environ.get("TAMIS_TRACEBACK"):
        traceback.print_exception(error)
    from tamis._base.libraries import wrong_libraries

    wrong = wrong_libraries()
    if wrong or isinstance(error, ImportError):
        return _fail(
            f"{', '.join(wrong) or f'a library cannot be imported: {error}'}; `tamis doctor` shows the remedies",
            MissingExtraError.exit_code,
        )
    return _fail(
        f"an internal error, please report it: {type(error).__name__}: {error} "
        "(set TAMIS_TRACEBACK=1 for the traceback)",
        INTERNAL_ERROR,
    )


def _ignore_closed_pipe() -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _fail(message: str, code: int) -> int:
    click.echo(f"tamis: {message}", err=True)
    return code
