"""`kill -9` between a request with an `Idempotency-Key` and its answer, and the same request again."""
import json
import random
import shutil
import signal
import socket
import statistics
import tempfile
import time

from _place import at_once, row
from _postgres import Postgres
from _storage import CannotRun, Server

JOB = {'model': 'starter', 'dataset': 'digits', 'steps': 1}
SWEEP = {'job': JOB, 'grid': {'seed': [1, 2, 3]}}
ROUNDS = {'SQLite': 60, 'PostgreSQL': 40}
# How long a key that was marked and not carried out refuses its repeats.
IN_FLIGHT = 120


class Request:
    """A request that is to be carried out once; what it makes is known by its label."""

    def __init__(self, number):
        self.key, self.answers, self.ids = f'once-{number}', [], set()
        self.path, body = (('/v1/jobs', JOB), ('/v1/jobs', JOB), ('/v1/sweeps', SWEEP))[number % 3]
        tags = {'tags': {'once': str(number)}}
        self.body = json.dumps({**body, 'job': {**JOB, **tags}} if 'job' in body else {**body, **tags}).encode()
        self.wanted = 3 if 'job' in body else 1

    def shoot(self, server, seconds):
        """Sends it, and kills the server so long after that."""
        head = (f'POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: {self.key}\r\n'
                f'Content-Length: {len(self.body)}\r\n\r\n')
        connection = socket.create_connection(('127.0.0.1', server.port), timeout=10)
        connection.sendall(head.encode() + self.body)
        time.sleep(seconds)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        try:
            answered = connection.recv(12)[9:12] == b'201'
        except OSError:
            answered = False
        connection.close()
        return answered

    def ask(self, server):
        status, told, headers = server.ask('POST', self.path, self.body, {'Content-Type': 'application/json', 'Idempotency-Key': self.key})
        if status == 201:
            self.ids.add(told['id'])
        return status, headers.get('idempotent-replayed') == 'true'


def usual(server):
    """Seconds that such a request takes here."""
    taken = []
    for number in range(9):
        begun = time.monotonic()
        server.ask('POST', '/v1/jobs', JOB, {'Idempotency-Key': f'usual-{number}'})
        taken.append(time.monotonic() - begun)
    return statistics.median(taken)


def rounds(vgpo, name, env):
    folder, chance, requests = tempfile.mkdtemp(prefix='vgpo-attack-'), random.Random(14), []
    answered = replayed = anew = waiting = 0
    others = []
    server = Server(vgpo, folder, env=env)
    try:
        window = 1.5 * usual(server)
        for number in range(ROUNDS[name]):
            request = Request(number)
            requests.append(request)
            answered += request.shoot(server, chance.uniform(0.2 * window, window))
            server.stop(signal.SIGKILL)
            server = Server(vgpo, folder, env=env)
            status, again = request.ask(server)
            replayed += status == 201 and again
            anew += status == 201 and not again
            waiting += status == 409
            others += [status] if status not in (201, 409) else []
        begun = time.monotonic()
        left = [request for request in requests if not request.ids]
        while left and time.monotonic() - begun < IN_FLIGHT + 20:
            time.sleep(2)
            left = [request for request in left if request.ask(server)[0] != 201]
        seconds = time.monotonic() - begun
        # A repeat of the repeat, for all.
        for request in requests:
            request.ask(server)
        jobs, after = [], ''
        while after is not None:
            page = server.ask('GET', '/v1/jobs?limit=1000' + (f'&after={after}' if after else ''))[1]
            jobs += page['data']
            after = page.get('next')
        made = {request.key: sum(job['tags'].get('once') == request.key[5:] for job in jobs) for request in requests}
    finally:
        server.stop(signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    wrong = [f'{request.key} made {made[request.key]}, told {len(request.ids)}' for request in requests
             if made[request.key] != request.wanted or len(request.ids) != 1]
    return [
        row(f'{name}: {ROUNDS[name]} requests, each cut by `kill -9`, and sent again', 'carried out once: every repeat tells of the same job or sweep',
            f'{len(requests) - len(wrong)} once, {len(wrong)} not {wrong[:3]}; answered before the kill {answered}, '
            f'the repeat told of what was made {replayed}, carried out {anew}, waited {waiting}, other answers {others}',
            not wrong and not others and replayed > answered),
        row(f'{name}: repeats that were told to wait (409)', f'are carried out within {IN_FLIGHT} s',
            f'{waiting} waited; all were answered {seconds:.0f} s after the last kill' if not left else f'{len(left)} still wait after {seconds:.0f} s', not left),
    ]


def tried(attack):
    """What came of it; an exception in a thread would be lost."""
    try:
        return attack()
    except Exception as error:
        return [row('a database', 'the attack runs', repr(error), False)]


def on_postgres(vgpo):
    try:
        with Postgres() as postgres:
            return rounds(vgpo, 'PostgreSQL', {'VGPO_DATABASE_URL': postgres.url()})
    except CannotRun as reason:
        return [row('the same on PostgreSQL', 'the attack runs', f'it cannot run here: {reason}', False)]


def attack(vgpo):
    # Both at once: most of the time they wait for keys that are in flight.
    databases = (lambda: rounds(vgpo, 'SQLite', {}), lambda: on_postgres(vgpo))
    found = at_once(len(databases), lambda at: tried(databases[at]))
    return [*found[0], *found[1]]
