# SPDX-License-Identifier: Apache-2.0
"""The command line, called in this process."""

from foveate import cli


def run(capsys, *arguments):
    """(exit status, stdout, stderr) of a command line."""
    status = cli.run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err
