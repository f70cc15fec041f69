"""Clients that hang up in the middle of transactions on PostgreSQL."""
import json
import os
import random
import shutil
import socket
import struct
import tempfile
import threading
import time

from _place import Health, Server, at_once, row
from _postgres import Postgres

JOB = {'model': 'starter', 'dataset': 'digits', 'steps': 1}
SECONDS, CALLERS = 20, 6
INSIDE = "SELECT state, query FROM pg_stat_activity WHERE application_name = 'vgpo' AND state LIKE 'idle in transaction%'"
HOLDING = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = 'vgpo' AND state <> 'active' AND locktype <> 'virtualxid'"
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vgpo'"
# Of one process (docs/operations.md).
POOL = 12


def shot(server, jobs, chance):
    """Sends a request, and hangs up with a reset some milliseconds later."""
    job = chance.choice(jobs)
    method, path, body = chance.choice([
        ('PATCH', f'/v1/jobs/{job["id"]}', {'priority': chance.randrange(100)}),
        ('POST', f'/v1/jobs/{job["id"]}/cancel', {}),
        ('POST', f'/v1/jobs/{job["id"]}/retry', {}),
        ('PATCH', f'/v1/runs/{job["run_id"]}', {'notes': f'n{chance.randrange(9999)}'}),
        ('POST', '/v1/jobs', JOB),
        ('POST', '/v1/datasets', {'name': f'd{chance.randrange(10 ** 9)}', 'source': {'upload': 'parts'}}),
        ('GET', '/v1/jobs?limit=200', None),
        ('GET', '/readyz', None),
    ])
    said = b'' if body is None else json.dumps(body).encode()
    head = f'{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n'
    connection = server.connect(head.encode() + said)
    time.sleep(chance.random() * 0.008)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    connection.close()


class Watch:
    """Looks for sessions that idle inside a transaction; `longest` is how long one was seen there, in seconds."""

    def __init__(self, postgres):
        self.postgres, self.longest, self.looks, self.over = postgres, 0.0, 0, False
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        longest = f"SELECT coalesce(max(extract(epoch FROM clock_timestamp() - state_change)), 0) FROM pg_stat_activity \
            WHERE application_name = 'vgpo' AND state LIKE 'idle in transaction%'"
        while not self.over:
            self.longest = max(self.longest, float(self.postgres.ask(longest)[0]))
            self.looks += 1
            time.sleep(0.5)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


def storm(server, jobs):
    end, counts = time.monotonic() + SECONDS, [0] * CALLERS

    def caller(at):
        chance = random.Random(at)
        while time.monotonic() < end:
            try:
                shot(server, jobs, chance)
                counts[at] += 1
            except OSError:
                pass

    at_once(CALLERS, caller)
    return sum(counts)


def attack(vgpo):
    folder = tempfile.mkdtemp(prefix='vgpo-attack-')
    try:
        with Postgres() as postgres:
            env = {'VGPO_DATABASE_URL': postgres.url(), 'VGPO_ARTIFACTS_URL': f'file:{folder}/artifacts'}
            with Server(vgpo, env=env) as server:
                jobs = [json.loads(server.ask('POST', '/v1/jobs', {**JOB, 'seed': seed})[1]) for seed in range(20)]
                files = lambda: len(os.listdir(f'/proc/{server.process.pid}/fd'))
                before = files()
                with Health(server) as health, Watch(postgres) as watch:
                    shots = storm(server, jobs)
                    time.sleep(6)
                inside, holding = postgres.ask(INSIDE), postgres.ask(HOLDING)[0]
                # Every connection of the pool is wanted at once: one that is lost would be missed.
                begun = time.monotonic()
                statuses = sorted(status for status, _ in at_once(60, lambda _: server.ask('POST', '/v1/jobs', JOB)))
                seconds = time.monotonic() - begun
                connections = int(postgres.ask(CONNECTIONS)[0])
                ready = server.ask('GET', '/readyz')[0]
                with open(os.path.join(server.folder, 'log'), errors='replace') as log:
                    lines = log.read().splitlines()
                told = lambda words: sum(words in line for line in lines)
                shared, spare, panics = told('already a transaction'), told('no transaction in progress'), told('panicked')
                after = files()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [
        row(f'{shots:,} requests whose clients hang up, most in the middle of a transaction', 'no session idles in a transaction for a second',
            f'{watch.longest * 1000:.0f} ms at most in {watch.looks} looks; afterwards {inside or "none"}, {holding} locks held',
            shots > 1000 and watch.longest < 1 and not inside and holding == '0'),
        row('60 submits at once afterwards', f'201 all, over at most {POOL} connections', f'{sorted(set(statuses))}, {seconds:.1f} s, {connections} connections, readyz {ready}',
            statuses == [201] * 60 and connections <= POOL and ready == 200 and seconds < 20),
        row('the server meanwhile', '`/healthz` below 200 ms, no file left open', f'{health.told()}, {before} files before, {after} after', health.well() and after < before + 40),
        row('its log', 'no request gets a connection inside of a transaction',
            f'{shared} warnings that there is a transaction already, {spare} of a ROLLBACK to be sure, {panics} panics', shared == panics == 0),
    ]
