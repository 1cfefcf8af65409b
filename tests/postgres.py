"""A real PostgreSQL for tests: a cluster of its own in a folder, reached through a socket in it and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
"""Where distributions put the server: not on the PATH."""


def program(name: str) -> str | None:
    """One of the server's programs, of the newest version that is installed."""
    return next((str(folder / name) for folder in PROGRAMS if (folder / name).exists()), shutil.which(name))


class Postgres:
    """One cluster. Durability is as it is by default; it listens on no port."""

    def __init__(self, folder: Path) -> None:
        """folder: short, for a socket's path has 107 bytes at most."""
        self._folder = folder
        self._data, self._log = folder / "data", folder / "log"
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "dcim", "-E", "UTF8", "--locale=C")
        self.start()

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+asyncpg://dcim@/postgres?host={self._folder}"

    def start(self) -> None:
        """Comes back when it can be asked."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._folder}'"
        self._run("pg_ctl", "-D", str(self._data), "-l", str(self._log), "-o", options, "-w", "-t", "60", "start")

    def stop(self, how: str = "fast") -> None:
        """how: fast, or immediate, which is as good as a crash."""
        self._run("pg_ctl", "-D", str(self._data), "-m", how, "-w", "-t", "60", "stop")

    def _run(self, name: str, *arguments: str) -> None:
        path = program(name)
        assert path is not None
        user = None
        if os.geteuid() == 0:  # it refuses to be root
            user = "postgres"
            for folder in (self._folder, *self._folder.iterdir()):
                if folder != self._data:
                    shutil.chown(folder, user)
        with (self._folder / "out").open("ab") as out:  # a file, not a pipe: the server would hold it open
            done = subprocess.run(
                [path, *arguments], user=user, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
            )
        if done.returncode:
            raise AssertionError(f"{name}: {(self._folder / 'out').read_text(errors='replace')}")
