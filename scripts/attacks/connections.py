"""Connections that ask slowly or nothing, and streams without number."""
import time

from _place import Health, Server, row


def attack(vgpo):
    rows = []
    with Server(vgpo, files=1024) as server:
        held, refused = [], 0
        for _ in range(1100):
            try:
                held.append(server.connect(b'GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-a: '))
            except OSError:
                refused += 1
        with Health(server) as health:
            ready = [server.ask('GET', path)[0] for path in ('/readyz', '/v1/jobs')]
            closed, begun = 0, time.monotonic()
            while held and time.monotonic() - begun < 60:
                still = []
                for connection in held:
                    connection.setblocking(False)
                    try:
                        still += [connection] if connection.recv(1) else []
                    except BlockingIOError:
                        still.append(connection)
                    except OSError:
                        pass
                closed += len(held) - len(still)
                held = still
                time.sleep(0.5)
        for connection in held:
            connection.close()
        rows.append(row(
            '1,100 connections with half a head, 1,024 files', 'others are answered; slow ones are closed within a minute',
            f'readyz and jobs {ready}, {closed} closed, {refused} refused, {health.told()}',
            ready == [200, 200] and not held and health.failed == 0))
    with Server(vgpo, key=True) as server:
        head = f'GET /v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {server.key}\r\naccept: text/event-stream\r\n\r\n'
        live = [server.connect(head.encode()) for _ in range(300)]
        heads = []
        for connection in live:
            connection.settimeout(20)
            heads.append(connection.recv(12)[9:12].decode())
        with Health(server) as health:
            time.sleep(3)
        opened, refused = heads.count('200'), heads.count('429')
        for connection in live:
            connection.close()
        rows.append(row(
            '300 live streams of one key', '100, then 429', f'{opened} opened, {refused} refused, {health.told()}',
            opened == 100 and refused == 200 and health.well()))
    return rows
