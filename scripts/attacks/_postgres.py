"""A private PostgreSQL, which can fall silent, and a wire to it that can be cut without a word. Standard library only."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from _storage import CannotRun, free_port


def programs():
    """The folder of the newest version's programs."""
    folders = sorted(pathlib.Path('/usr/lib/postgresql').glob('*/bin'), key=lambda folder: int(folder.parent.name))
    found = [folder for folder in reversed(folders) if (folder / 'initdb').exists()]
    if not found and (initdb := shutil.which('initdb')):
        found = [pathlib.Path(initdb).resolve().parent]
    if not found:
        raise CannotRun('PostgreSQL is not installed (apt-get install postgresql)')
    return found[0]


def children(pid):
    """The processes that this one has started."""
    found = []
    for entry in os.listdir('/proc'):
        try:
            with open(f'/proc/{entry}/stat') as stat:
                if int(stat.read().rsplit(')', 1)[1].split()[1]) == pid:
                    found.append(int(entry))
        except (OSError, ValueError, IndexError):
            pass
    return found


class Postgres:
    """A cluster in a folder of its own with an empty database, `vgpo`; settings are PostgreSQL's own, as `name=value`."""

    def __init__(self, *settings):
        self.bin, self.run_as, self.settings = programs(), [], settings
        self.folder = tempfile.mkdtemp(prefix='vgpo-attack-pg-')
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            shutil.chown(self.folder, 'postgres', 'postgres')
            self.run_as = ['setpriv', '--reuid', 'postgres', '--regid', 'postgres', '--clear-groups']
        self.server = None
        try:
            self.do('initdb', '-D', f'{self.folder}/data', '-U', 'vgpo', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-instructions')
            self.start()
            self.create('vgpo')
        except BaseException:
            self.stop()
            raise

    def do(self, program, *args):
        done = subprocess.run([*self.run_as, self.bin / program, *args], capture_output=True, text=True, cwd='/')
        if done.returncode:
            raise RuntimeError(f'{program}: {done.stderr.strip()[-1000:]}')
        return done.stdout.strip()

    def start(self):
        command = [self.bin / 'postgres', '-D', f'{self.folder}/data', '-k', self.folder, '-c', 'listen_addresses=', '-c', 'max_connections=300']
        command += [word for setting in self.settings for word in ('-c', setting)]
        with open(f'{self.folder}.log', 'a') as log:
            self.server = subprocess.Popen([*self.run_as, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd='/')
        while subprocess.run([self.bin / 'pg_isready', '-q', '-h', self.folder]).returncode:
            if self.server.poll() is not None:
                raise RuntimeError('PostgreSQL does not start')
            time.sleep(0.1)

    def create(self, database):
        self.do('createdb', '-h', self.folder, '-U', 'vgpo', database)

    def url(self, database='vgpo'):
        return f'postgres://vgpo@localhost/{database}?host={self.folder}'

    def ask(self, sql, database='vgpo'):
        """The rows of a query, as text."""
        return self.do('psql', '-h', self.folder, '-U', 'vgpo', '-d', database, '-At', '-c', sql).splitlines()

    def signal(self, how):
        for pid in [self.server.pid, *children(self.server.pid)]:
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                pass

    def freeze(self):
        """Its host says nothing any more: connections stay open, new ones are taken by the kernel, nobody answers."""
        self.signal(signal.SIGSTOP)
        # Those that it started in between.
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def stop(self):
        if self.server and self.server.poll() is None:
            self.thaw()
            self.server.send_signal(signal.SIGINT)
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        if os.path.exists(f'{self.folder}.log'):
            os.unlink(f'{self.folder}.log')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Wire:
    """A way to the server over TCP. After `cut` the connections of before stay open and carry nothing; new ones work."""

    def __init__(self, postgres, database='vgpo'):
        self.server, self.generation, self.ends = f'{postgres.folder}/.s.PGSQL.5432', 0, []
        self.port = free_port()
        self.url = f'postgres://vgpo@127.0.0.1:{self.port}/{database}?sslmode=disable'
        self.listener = socket.create_server(('127.0.0.1', self.port), backlog=256)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.server)
            except OSError:
                return
            self.ends += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self.carry, args=(one, other, self.generation), daemon=True).start()

    def carry(self, source, sink, born):
        try:
            while data := source.recv(1 << 16):
                if born != self.generation:
                    return
                sink.sendall(data)
            if born == self.generation:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        self.generation += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in [self.listener, *self.ends]:
            end.close()
