# SPDX-License-Identifier: Apache-2.0
"""`foveate`, `python -m foveate`: the command line. It needs more than NumPy, and says so."""

import sys


def main():
    try:
        import PIL  # noqa: F401
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        sys.exit(f'foveate: command line: got no {error.name}, expected it installed. pip install "foveate[cli]"')
    from .cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
