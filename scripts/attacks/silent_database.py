"""A database that says nothing any more: its host is frozen, or every connection is cut without a word while new ones work."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from _place import Health, Server, at_once, row
from _postgres import Postgres, Wire

JOB = {'model': 'starter', 'dataset': 'digits', 'steps': 20_000, 'batch': {'prompts_per_step': 2}, 'eval_before': False}
# What docs/operations.md allows a request, and a little for the machine.
BOUND = 20 + 2
FROZEN = 40


def ask(server, what):
    """Status and seconds of a request of one of some kinds."""
    begun = time.monotonic()
    if what % 4 == 3:
        status, _ = server.ask('POST', '/v1/jobs', {**JOB, 'steps': 1})
    else:
        status, _ = server.ask('GET', ('/v1/jobs', '/v1/models', '/v1/datasets/digits')[what % 4])
    return status, time.monotonic() - begun


class Visitors:
    """Ask something every half second, each in a thread of its own; `asked` holds when, status and seconds."""

    def __init__(self, server):
        self.server, self.asked, self.open, self.most, self.over = server, [], 0, 0, False
        self.begun, self.lock = time.monotonic(), threading.Lock()
        self.thread = threading.Thread(target=self.come, daemon=True)
        self.threads = []

    def visit(self, what):
        with self.lock:
            self.open += 1
            self.most = max(self.most, self.open)
        at = time.monotonic() - self.begun
        status, seconds = ask(self.server, what)
        with self.lock:
            self.open -= 1
            self.asked.append((at, status, seconds))

    def come(self):
        for what in range(10_000):
            if self.over:
                break
            self.threads.append(threading.Thread(target=self.visit, args=(what,), daemon=True))
            self.threads[-1].start()
            time.sleep(0.5)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        for thread in [self.thread, *self.threads]:
            thread.join()

    def longest(self):
        return max((seconds for _, _, seconds in self.asked), default=0.0)

    def statuses(self):
        return sorted({status for _, status, _ in self.asked})


def until(done, seconds):
    """Seconds until it is so; none where it does not come."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        if done():
            return time.monotonic() - begun
        time.sleep(0.2)
    return None


class Place:
    """A server and a worker of its own at a job, both behind the wire."""

    def __init__(self, vgpo, url):
        self.folder = tempfile.mkdtemp(prefix='vgpo-attack-')
        env = {'VGPO_DATABASE_URL': url, 'VGPO_ARTIFACTS_URL': f'file:{self.folder}/artifacts'}
        self.server = Server(vgpo, env=env)
        quiet = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
        command = [vgpo, 'worker', '--device', 'cpu', '--data', os.path.join(self.folder, 'worker')]
        self.worker = subprocess.Popen(command, env={**os.environ, **env}, preexec_fn=os.setsid, **quiet)
        self.job = json.loads(self.server.ask('POST', '/v1/jobs', JOB)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.__exit__()
        if self.worker.poll() is None:
            os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def get(self, path):
        status, body = self.server.ask('GET', path, timeout=30)
        return json.loads(body) if status == 200 else {}

    def steps(self):
        return self.get(f'/v1/runs/{self.job["run_id"]}').get('last_step') or 0

    def goes_on(self, by, seconds):
        """Does the job get so many steps further, in its first attempt?"""
        before = self.steps()
        moved = until(lambda: self.steps() >= before + by, seconds)
        job = self.get(f'/v1/jobs/{self.job["id"]}')
        seen = f'{job.get("state")}, attempt {job.get("attempt")}, steps {before} to {self.steps()}'
        return moved is not None and (job.get('state'), job.get('attempt')) == ('running', 1), seen

    def warm(self):
        """Opens as many connections as a busy server has."""
        at_once(40, lambda what: ask(self.server, what % 3))


def frozen(place, postgres):
    place.warm()
    begun_at = place.steps()
    postgres.freeze()
    with Health(place.server) as health, Visitors(place.server) as visitors:
        begun = time.monotonic()
        crowd = at_once(200, lambda what: ask(place.server, what))
        ready = place.server.ask('GET', '/readyz')
        begun_ready = time.monotonic()
        again = place.server.ask('GET', '/readyz')[0]
        ready_seconds = time.monotonic() - begun_ready
        time.sleep(max(0.0, FROZEN - (time.monotonic() - begun)))
        visitors.over = True
        open_at_end = visitors.open
        asked = list(visitors.asked)
        memory = place.server.figure('VmHWM')
        postgres.thaw()
        back = until(lambda: place.server.ask('GET', '/v1/jobs')[0] == 200, 60)
        written = until(lambda: ask(place.server, 3)[0] == 201, 60)
        is_ready = until(lambda: place.server.ask('GET', '/readyz')[0] == 200, 60)
    statuses = sorted({status for status, _ in crowd} | {status for _, status, _ in asked})
    longest = max([seconds for _, seconds in crowd] + [seconds for _, _, seconds in asked])
    goes_on, seen = place.goes_on(10, 120)
    return [
        row(f'the database is frozen for {FROZEN} s: 200 requests at once, then 2 a second', f'503, each within {BOUND} s',
            f'{statuses}, the longest {longest:.1f} s', statuses == [503] and longest <= BOUND),
        row('they do not pile up', f'at most {2 * BOUND} wait after {FROZEN} s', f'{open_at_end} wait, {visitors.most} at most, memory {memory:,} MB',
            open_at_end <= 2 * BOUND and memory < 1024),
        row('frozen: `/healthz`', 'at once', health.told(), health.well()),
        row('frozen: `/readyz`', f'503 within {BOUND} s', f'{ready[0]} and {again}, the second after {ready_seconds:.1f} s: {ready[1][:160].decode()}',
            (ready[0], again) == (503, 503) and ready_seconds <= BOUND),
        row('thawed: reads, submits, `/readyz`', '200, 201, 200 within 10 s, without a restart', ', '.join('never' if s is None else f'{s:.1f} s' for s in (back, written, is_ready)),
            all(s is not None and s < 10 for s in (back, written, is_ready))),
        row(f'the job that ran (step {begun_at})', 'goes on in the same attempt', seen, goes_on),
    ]


def cut(place, wire):
    place.warm()
    wire.cut()
    with Health(place.server) as health, Visitors(place.server) as visitors:
        time.sleep(40)
    failed = [at for at, status, _ in visitors.asked if status not in (200, 201)]
    late = max((at + seconds for at, _, seconds in visitors.asked if seconds > 1), default=0.0)
    goes_on, seen = place.goes_on(10, 120)
    return [
        row('every connection is cut without a word, new ones work: 2 requests a second', f'each within {BOUND} s; all is well after {BOUND} s',
            f'{len(failed)} of {len(visitors.asked)} failed, the longest {visitors.longest():.1f} s, well after {late:.1f} s, {health.told()}',
            visitors.longest() <= BOUND and late <= BOUND and all(at < BOUND for at in failed) and health.well()),
        row('the job that ran', 'goes on in the same attempt', seen, goes_on),
    ]


def attack(vgpo):
    with Postgres() as postgres, Wire(postgres) as wire, Place(vgpo, wire.url) as place:
        if until(lambda: place.steps() >= 2, 120) is None:
            return [row('a job runs', 'it does', 'no step in two minutes', False)]
        return frozen(place, postgres) + cut(place, wire)
