"""What every attack needs: a server of its own, requests, and what to measure. Python's standard library only."""
import http.client, json, os, re, resource, shutil, signal, socket, subprocess, tempfile, threading, time

GB = 1 << 30


class Server:
    """A server in a folder of its own, under limits, ended with what started it."""

    def __init__(self, vgpo, *args, env=None, memory=8 * GB, files=None, key=False):
        self.vgpo, self.folder = vgpo, tempfile.mkdtemp(prefix='vgpo-attack-')
        self.env = {**{k: v for k, v in os.environ.items() if not k.startswith('VGPO_')}, **(env or {})}
        self.key = None
        if key:
            made = self.run('keys', 'create', '--role', 'admin', '--json', '--data', self.folder)
            self.key_id, self.key = made['id'], made['secret']
        self.start(*args, memory=memory, files=files)

    def run(self, *args):
        done = subprocess.run([self.vgpo, *args], env=self.env, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout)

    def start(self, *args, memory, files):
        def limit():
            os.setsid()
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        command = [self.vgpo, 'serve', '--devices', 'none', '--port', '0', '--data', self.folder, *args]
        self.log = open(os.path.join(self.folder, 'log'), 'w+')
        self.process = subprocess.Popen(
            command, env=self.env, stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL, text=True, preexec_fn=limit)
        line = self.process.stdout.readline()
        found = re.search(r'http://[^\s:]+:(\d+)', line)
        if not found:
            self.log.seek(0)
            raise RuntimeError(f'no server: {line} {self.log.read()[-2000:]}')
        self.port = int(found.group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, method, path, body=None, headers=None, timeout=120, key=True):
        """Status and bytes of an answer; 0 and the reason where none came."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        headers = {'content-type': 'application/json', **(headers or {})}
        if self.key and key:
            headers.setdefault('authorization', f'Bearer {self.key if key is True else key}')
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError as error:
            return 0, str(error).encode()
        except http.client.HTTPException as error:
            return 0, repr(error).encode()
        finally:
            connection.close()

    def connect(self, said=b''):
        connection = socket.create_connection(('127.0.0.1', self.port), timeout=30)
        connection.sendall(said)
        return connection

    def figure(self, name):
        """A size of /proc/PID/status in megabytes: VmRSS, VmHWM."""
        with open(f'/proc/{self.process.pid}/status') as status:
            return next(int(line.split()[1]) // 1024 for line in status if line.startswith(name + ':'))

    def alive(self):
        return self.process.poll() is None

    def end(self, patience):
        """Seconds until a SIGTERM has ended it; none where it did not in time."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - begun


class Health:
    """Asks /healthz again and again; `worst` is the longest time that an answer took."""

    def __init__(self, server):
        self.server, self.worst, self.failed, self.over = server, 0.0, 0, False
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        while not self.over:
            begun = time.monotonic()
            status, _ = self.server.ask('GET', '/healthz', timeout=30, key=False)
            self.worst = max(self.worst, time.monotonic() - begun)
            self.failed += status != 200
            time.sleep(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()

    def told(self):
        return f'`/healthz` at most {self.worst * 1000:.0f} ms' + (f', {self.failed} failed' if self.failed else '')

    def well(self):
        return self.failed == 0 and self.worst < 0.2


def at_once(count, work):
    """Does the work in threads at the same time; what each brought back."""
    found = [None] * count
    threads = [threading.Thread(target=lambda at=at: found.__setitem__(at, work(at)), daemon=True) for at in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def row(tried, wanted, seen, held):
    """A line of the page."""
    return {'tried': tried, 'wanted': wanted, 'seen': seen, 'held': bool(held)}
