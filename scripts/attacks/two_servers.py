"""A second server beside a first one: on the same database from another host, or on its files with a database that does not know them."""
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

from _place import row
from _postgres import Postgres
from _storage import CannotRun, Server

ROW = json.dumps({'problem': 'What?', 'answer': '5'}).encode() + b'\n'
LINES = {'Content-Type': 'application/jsonl'}
LONG = json.dumps({'problem': 'word ' * 2000, 'answer': '1'}).encode() + b'\n'


def state(server, name):
    return server.ask('GET', f'/v1/datasets/{name}')[1].get('state')


def rows_of(server, name):
    return server.ask('GET', f'/v1/datasets/{name}/rows?limit=1')[0]


class Uploads:
    """What is on its way into a server: an upload in parts, one that is half sent, and a check that takes its time."""

    def __init__(self, server):
        self.server = server
        self.parts = server.ask('POST', '/v1/datasets', {'name': 'parts', 'source': {'upload': 'parts'}})[1]['id']
        self.put(0, ROW * 20)
        body = ROW * 4000
        self.rest = body[len(body) // 2:]
        head = f'POST /v1/datasets?name=slow HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jsonl\r\nContent-Length: {len(body)}\r\n\r\n'
        self.slow = socket.create_connection(('127.0.0.1', server.port), timeout=60)
        self.slow.sendall(head.encode() + body[:len(body) // 2])
        self.checking = server.ask('POST', '/v1/datasets?name=checking', LONG * 4000, LINES)[1]['id']
        server.wait(lambda: state(server, 'slow') == 'uploading', 5)

    def put(self, offset, body):
        path = f'/v1/datasets/{self.parts}/files/rows.jsonl' + (f'?offset={offset}' if offset else '')
        return self.server.ask('PUT', path, body, {'Content-Type': 'application/octet-stream'})[0]

    def states(self):
        return [state(self.server, name) for name in ('parts', 'slow', 'checking')]

    def end(self):
        """Goes on with each of them; what was answered, and what became of them."""
        put = self.put(len(ROW) * 20, ROW * 20)
        finished = self.server.ask('POST', f'/v1/datasets/{self.parts}/finish')[0]
        self.slow.sendall(self.rest)
        sent = int(self.slow.recv(12)[9:12] or 0)
        self.slow.close()
        self.server.wait(lambda: self.states() == ['ready'] * 3, 120)
        return [put, finished, sent], self.states(), [rows_of(self.server, name) for name in ('parts', 'slow', 'checking')]

    def row(self, tried):
        answers, states, rows = self.end()
        return row(tried, 'go on, and become ready with their rows', f'next part, end, rest of the upload {answers}; {states}; rows {rows}',
                   answers[0] == 200 and answers[1:] == [202, 202] and states == ['ready'] * 3 and rows == [200] * 3)


def same_database(vgpo, folder):
    """As two hosts do it: one database, one store, a data folder each."""
    with Postgres() as postgres:
        shared = {'VGPO_DATABASE_URL': postgres.url(), 'VGPO_ARTIFACTS_URL': f'file:{folder}/artifacts'}
        first, others = Server(vgpo, f'{folder}/a', env=shared), []
        try:
            uploads = Uploads(first)
            before = uploads.states()
            for start in range(3):
                others.append(Server(vgpo, f'{folder}/b', env=shared))
                time.sleep(1)
                after = uploads.states()
                if start < 2:
                    others.pop().stop()
            up = others[0].is_up
            found = [uploads.row('PostgreSQL: another host starts three times beside an upload in parts, half an upload, a check')]
            found[0]['seen'] = f'{before}, then {after}; {found[0]["seen"]}'
            # Every moment of an upload has a start of the other server in it.
            names = [f'quick{n}' for n in range(60)]
            for at, name in enumerate(names):
                if at % 15 == 7:
                    others.pop().stop()
                    others.append(Server(vgpo, f'{folder}/b', env=shared))
                first.ask('POST', f'/v1/datasets?name={name}', ROW * 40, LINES)
            first.wait(lambda: all(state(first, name) == 'ready' for name in names), 60)
            ready = [name for name in names if state(first, name) == 'ready']
            read = [name for name in ready if rows_of(first, name) == rows_of(others[0], name) == 200]
            found.append(row('60 uploads to one while the other starts four times', 'all are ready, and both read them', f'{len(ready)} ready, {len(read)} read by both',
                             up and len(ready) == len(read) == 60))
            return found
        finally:
            for server in [first, *others]:
                server.stop()


def files(folder, moving):
    """Every file of a data folder but databases, logs, marks that servers write, and what moves by itself."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            kept = os.path.relpath(path, folder)
            if kept.startswith(('vgpo.db', 'logs', f'uploads/{moving}')) or name.startswith(('.', 'lock')):
                continue
            with open(path, 'rb') as file:
                found[kept] = hashlib.sha256(file.read()).hexdigest()
    return found


def foreign(vgpo, folder, name, env):
    """A server with this database on the data folder of another one, which has a checked data set and uploads on their way."""
    data = f'{folder}/{name}'
    first, other = Server(vgpo, data), None
    try:
        first.ask('POST', '/v1/datasets?name=mine', ROW * 40, LINES)
        first.wait(lambda: state(first, 'mine') == 'ready', 30)
        uploads = Uploads(first)
        before = files(data, uploads.checking)
        other = Server(vgpo, data, env=env)
        refused = not other.is_up and 'vgpo prune --adopt' in other.told()
        told = other.told().strip().splitlines()[-1:] or ['']
        pruned = subprocess.run([vgpo, 'prune', '--orphans', '--data', data], env={**os.environ, **env}, capture_output=True, text=True)
        time.sleep(1)
        after = files(data, uploads.checking)
        gone = sorted(path for path in before if path not in after)
        changed = sorted(path for path in before if path in after and before[path] != after[path])
        return [
            row(f'{name}: a second server on the same data folder', 'refuses, and names the way out', f'{"refused" if refused else "started"}: {told[0][-180:]}', refused),
            row(f'{name}: `vgpo prune --orphans`', 'refuses', f'exit {pruned.returncode}: {pruned.stderr.strip()[-160:]}', pruned.returncode != 0),
            row(f'{name}: the {len(before)} files of the first', 'all there, as they were', f'{len(gone)} gone, {len(changed)} changed {(gone + changed)[:3]}', before and not gone and not changed),
            row(f'{name}: rows of its data set', '200', str(rows_of(first, 'mine')), rows_of(first, 'mine') == 200),
            uploads.row(f'{name}: its uploads on their way'),
        ]
    finally:
        for server in (first, other):
            if server:
                server.stop()


def known_elsewhere(vgpo, folder):
    """A database that belongs to other files, and knows a data set of the same name."""
    other = Server(vgpo, f'{folder}/elsewhere')
    try:
        other.ask('POST', '/v1/datasets?name=mine', ROW * 40, LINES)
        other.wait(lambda: state(other, 'mine') == 'ready', 30)
    finally:
        other.stop()
    return {'VGPO_DATABASE_URL': f'sqlite:{folder}/elsewhere/vgpo.db'}


def attack(vgpo):
    folder = tempfile.mkdtemp(prefix='vgpo-attack-')
    try:
        found = foreign(vgpo, folder, 'an empty database', {'VGPO_DATABASE_URL': f'sqlite:{folder}/empty.db'})
        found += foreign(vgpo, folder, 'a foreign database', known_elsewhere(vgpo, folder))
        try:
            with Postgres() as postgres:
                found += foreign(vgpo, folder, 'an empty database of PostgreSQL', {'VGPO_DATABASE_URL': postgres.url()})
            found += same_database(vgpo, folder)
        except CannotRun as reason:
            found.append(row('two servers on PostgreSQL', 'the attack runs', f'it cannot run here: {reason}', False))
        return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)
