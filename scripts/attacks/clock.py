"""A clock that jumps by hours, back and forth, under a server and its workers."""
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from _place import row
from _storage import CannotRun, Server

JOB = {
    'model': 'starter', 'dataset': 'digits', 'steps': 20_000, 'batch': {'prompts_per_step': 2}, 'eval_before': False, 'checkpoint_every': 20,
    'keep_checkpoints': 2,
}
# Ahead of the true clock, in hours, one after the other.
JUMPS = (2, -1, 26, 0)


def library():
    for place in ('/usr/lib/*/faketime', '/usr/lib/faketime', '/usr/local/lib/faketime'):
        if found := glob.glob(f'{place}/libfaketimeMT.so.1'):
            return found[0]
    raise CannotRun('libfaketime is not installed (apt-get install faketime)')


class Clock:
    """A clock that processes follow; only the time of day is false, as when an administrator sets it."""

    def __init__(self, folder, name):
        self.file = f'{folder}/{name}.clock'
        self.env = {'LD_PRELOAD': library(), 'FAKETIME_TIMESTAMP_FILE': self.file, 'FAKETIME_NO_CACHE': '1', 'FAKETIME_DONT_FAKE_MONOTONIC': '1',
                    'DONT_FAKE_MONOTONIC': '1'}
        self.set(0)

    def set(self, hours):
        with open(f'{self.file}.new', 'w') as file:
            file.write(f'{hours:+d}h')
        os.rename(f'{self.file}.new', self.file)


class Place:
    def __init__(self, vgpo, folder):
        self.vgpo, self.folder, self.data, self.clock, self.ahead = vgpo, folder, f'{folder}/data', Clock(folder, 'all'), Clock(folder, 'ahead')
        # A device has one worker for each data folder, so workers have folders of their own.
        self.shared = {'VGPO_DATABASE_URL': f'sqlite:{self.data}/vgpo.db', 'VGPO_ARTIFACTS_URL': f'file:{self.data}/artifacts'}
        made = subprocess.run([vgpo, 'keys', 'create', '--role', 'admin', '--json', '--data', self.data], capture_output=True, text=True, check=True)
        self.key = json.loads(made.stdout)['secret']
        self.server, self.workers = Server(vgpo, self.data, env={**self.shared, **self.clock.env}), []

    def work(self, clock):
        quiet = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
        command = [self.vgpo, 'worker', '--device', 'cpu', '--data', f'{self.folder}/worker{len(self.workers)}']
        self.workers.append(subprocess.Popen(command, env={**os.environ, **self.shared, **clock.env}, preexec_fn=os.setsid, **quiet))

    def ask(self, method, path, body=None, headers=None):
        return self.server.ask(method, path, body, {'Authorization': f'Bearer {self.key}', **(headers or {})})

    def job(self, job):
        return self.ask('GET', f'/v1/jobs/{job["id"]}')[1]

    def steps(self, job):
        return self.ask('GET', f'/v1/runs/{job["run_id"]}')[1].get('last_step') or 0

    def submit(self, most):
        job = self.ask('POST', '/v1/jobs', {**JOB, 'max_attempts': most})[1]
        self.server.wait(lambda: self.steps(job) >= 3, 120)
        return job

    def moves(self, job):
        """Does it get further in its first attempt, for longer than a lease may be looked at?"""
        time.sleep(13)
        before = self.steps(job)
        moved = self.server.wait(lambda: self.steps(job) > before, 60)
        seen = self.job(job)
        return moved and (seen['state'], seen['attempt']) == ('running', 1), f'{seen["state"]}, attempt {seen["attempt"]}, step {self.steps(job)}'

    def stop(self):
        for worker in self.workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        self.server.stop()


def jumps(place):
    place.work(place.clock)
    once = lambda: place.ask('POST', '/v1/jobs', {**JOB, 'priority': -1, 'steps': 1, 'name': 'once'}, {'Idempotency-Key': 'k'})
    job = place.submit(1)
    first = once()[1]['id']
    place.work(place.clock)
    # A host of its own, whose clock is wrong for good; it has nothing to do and looks for leases that ran out.
    place.ahead.set(5)
    place.work(place.ahead)
    here = place.server.wait(lambda: len(place.ask('GET', '/v1/workers')[1]['data']) == 3, 30)
    found, repeats = [row('a worker at a job, an idle one, and one whose clock is 5 h ahead', 'are there', str(here), here)], []
    for hours in JUMPS:
        place.clock.set(hours)
        held, seen = place.moves(job)
        found.append(row(f'the clock of all but one host jumps to {hours:+d} h, `max_attempts: 1`', 'the job goes on in its first attempt', seen, held))
        # At +26 h the day of the key is over.
        if hours < 24 and len(repeats) < 2:
            repeats.append(once()[1].get('id') == first)
    asked = place.ask('GET', '/v1/jobs')[0]
    place.ask('POST', f'/v1/jobs/{job["id"]}/cancel', {})
    cancelled = place.server.wait(lambda: place.job(job)['state'] == 'cancelled', 30)
    found.append(row('an `Idempotency-Key` over jumps of less than its day', 'tells of the same job', str(repeats), repeats == [True, True]))
    found.append(row('the API key, and a cancel, after all of them', '200, and cancelled', f'{asked}, {cancelled}', asked == 200 and cancelled))
    return found


def takeover(place):
    """The worker dies while the clock is behind: its lease ends in what is now the future."""
    job = place.submit(3)
    place.clock.set(-3)
    time.sleep(3)
    holder = (place.job(job).get('lease') or {}).get('worker_id')
    pid = next((worker['pid'] for worker in place.ask('GET', '/v1/workers')[1]['data'] if worker['id'] == holder), None)
    if pid not in [worker.pid for worker in place.workers]:
        return row('a worker dies 3 h in the past', 'another one takes its job over', f'its process is not known ({holder}, {pid})', False)
    os.killpg(pid, signal.SIGKILL)
    begun = time.monotonic()
    taken = place.server.wait(lambda: (place.job(job)['state'], place.job(job)['attempt']) == ('running', 2), 120)
    seconds = time.monotonic() - begun
    return row('a worker dies 3 h in the past', 'another one takes its job over within a minute', f'{place.job(job)["state"]}, attempt {place.job(job)["attempt"]} after {seconds:.0f} s',
               taken and seconds < 60)


def attack(vgpo):
    folder = tempfile.mkdtemp(prefix='vgpo-attack-')
    try:
        place = Place(vgpo, folder)
        try:
            return [*jumps(place), takeover(place)]
        finally:
            place.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
