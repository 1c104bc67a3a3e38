"""A real nginx as a private process, with the files of `deploy/nginx` as they are except for what a site changes as well.

`Nginx(folder, files, site)` copies them into `folder`; `site` says what is put in place of what: addresses, paths. Each text
of it must occur, so that a test cannot go on without noticing that the files have changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy" / "nginx"

_MAIN = """
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
{user}
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/tmp1; proxy_temp_path {folder}/tmp2; fastcgi_temp_path {folder}/tmp3;
    uwsgi_temp_path {folder}/tmp4; scgi_temp_path {folder}/tmp5;
    include {folder}/conf.d/*.conf;
}}
"""


class Nginx:
    """One running nginx. `start` and `stop` it; the folder holds its files and logs."""

    def __init__(self, folder: Path, files: Sequence[str], site: Mapping[str, str]) -> None:
        """`files` of `deploy/nginx` go where nginx reads servers from; `site` maps texts of theirs to this machine's."""
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "conf.d").mkdir(parents=True)
        for shared in ("yumen", "oa"):
            shutil.copytree(DEPLOY / shared, folder / shared)
        texts = {name: (DEPLOY / name).read_text("utf-8") for name in files}
        if missing := [text for text in site if not any(text in whole for whole in texts.values())]:
            raise AssertionError(f"no file of deploy/nginx holds {missing}")
        for name, whole in texts.items():
            for text, instead in site.items():
                whole = whole.replace(text, instead)  # noqa: PLW2901 - the text as it becomes
            (folder / "conf.d" / Path(name).name).write_text(whole, "utf-8")
        user = "user root;" if os.geteuid() == 0 else ""  # the folders of tests let nobody else in
        (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user), "utf-8")

    def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            AssertionError: its files are not accepted; says why.
        """
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program
        command = [program, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        checked = subprocess.run([*command, "-t", "-q"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        self._process = subprocess.Popen([*command, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
        until = time.monotonic() + 5
        while not (self.folder / "nginx.pid").exists() or not (self.folder / "nginx.pid").read_text():
            assert self._process.poll() is None, (self.folder / "error.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.02)

    def reload(self) -> None:
        """Let it read its files again."""
        assert self._process
        self._process.send_signal(1)

    def stop(self) -> None:
        """End it at once."""
        if self._process:
            self._process.terminate()
            self._process.wait(10)

    def log(self, name: str = "error.log") -> str:
        """What it has written."""
        path = self.folder / name
        return path.read_text("utf-8", "replace") if path.exists() else ""
