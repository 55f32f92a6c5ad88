"""One command for all: ``privadv filter``, ``privadv data``, ... Each is a module's own ``main``, imported when called."""

from __future__ import annotations

import importlib

import typer

COMMANDS = {
    "data": ("privadv.data.__main__", "Verify, count and generate datasets"),
    "weights": ("privadv.weights", "Weights that configurations refer to by name"),
    "import-tf": ("privadv.import_tf.__main__", "Old TensorFlow checkpoints become models of this project"),
    "report": ("privadv.reports", "A run's report in a folder, or one report over the runs of several seeds"),
    "compare": ("privadv.compare", "Which filter is better, over all comparable runs of an experiment"),
    "promote": ("privadv.promote", "The candidate becomes the champion, unless the champion is better"),
    "filter": ("privadv.filter", "A trained filter on a video, a camera, a folder of images or a pipe"),
    "export": ("privadv.export", "A trained filter as an ONNX graph for the edge"),
    "store": ("privadv.store.__main__", "What the store holds, what of it may go, and whether it is whole"),
}
"""The module whose ``main(arguments) -> exit code`` each command is, and what it says of itself."""

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  help="Learn a video filter that shows what happens but not who, and use it.")


def main() -> None:
    """The console script."""
    app()


def _add(name: str, module: str, about: str) -> None:
    @app.command(name, help=about, short_help=about, context_settings=PASSED_ON)
    def command(context: typer.Context) -> None:
        raise typer.Exit(importlib.import_module(module).main(context.args))


for _name, (_module, _about) in COMMANDS.items():
    _add(_name, _module, _about)


if __name__ == "__main__":
    main()
