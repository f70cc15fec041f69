"""A server in a folder that the attack chooses, for attacks on what it stores, and small disks. Standard library only."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time


class CannotRun(Exception):
    """This machine does not let an attack run."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, vgpo, data, devices="none", env=None):
        self.port, self.data = free_port(), data
        os.makedirs(data, exist_ok=True)
        self.log = tempfile.NamedTemporaryFile(prefix="vgpo-attack-", suffix=".log", delete=False)
        command = [vgpo, "serve", "--port", str(self.port), "--devices", devices, "--data", data]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env={**os.environ, **(env or {})}
        )
        self.is_up = self.wait(lambda: self.process.poll() is not None or self.answers("/healthz"), 60) and self.alive()

    def alive(self):
        return self.process.poll() is None

    def answers(self, path):
        try:
            return self.ask("GET", path, timeout=2)[0] == 200
        except OSError:
            return False

    def ask(self, method, path, body=None, headers=None, timeout=60):
        """Status, body and headers."""
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        try:
            told = json.loads(text)
        except ValueError:
            told = text.decode(errors="replace")
        return response.status, told, {key.lower(): value for key, value in response.getheaders()}

    def wait(self, done, seconds):
        """Waits for something; false where it does not come."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if done():
                return True
            time.sleep(0.2)
        return done()

    def wait_for_job(self, job, state, seconds=180):
        return self.wait(lambda: self.ask("GET", f"/v1/jobs/{job}")[1].get("state") == state, seconds)

    def told(self):
        with open(self.log.name, errors="replace") as log:
            return log.read()

    def stop(self, how=signal.SIGTERM):
        if self.alive():
            self.process.send_signal(how)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        os.unlink(self.log.name)


def small_disk(megabytes):
    """A disk of its own, which only root can make."""
    if os.geteuid() != 0:
        raise CannotRun("a disk of its own needs root")
    folder = tempfile.mkdtemp(prefix="vgpo-attack-")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        os.rmdir(folder)
        raise CannotRun(f"a disk of its own cannot be mounted: {mounted.stderr.strip()}")
    return folder


def unmount(folder):
    time.sleep(0.5)
    subprocess.run(["umount", "-l", folder], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def fill(path):
    """Takes every byte that is left."""
    with open(path, "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"\0" * 4096)
        except OSError:
            pass
