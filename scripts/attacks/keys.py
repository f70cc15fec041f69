"""Keys that were revoked."""
import json
import time

from _place import Server, row


def attack(vgpo):
    with Server(vgpo) as server:
        made = json.loads(server.ask('POST', '/v1/keys', {'role': 'admin'})[1])
        head = f'GET /v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {made["secret"]}\r\naccept: text/event-stream\r\n\r\n'
        live = server.connect(head.encode())
        live.settimeout(20)
        opened = live.recv(4096)
        gone = server.ask('DELETE', f'/v1/keys/{made["id"]}', headers={'authorization': f'Bearer {made["secret"]}'})[0]
        begun = time.monotonic()
        try:
            told = opened
            # The connection itself may stay for other requests: the last chunk is the end.
            while not told.endswith(b'\r\n0\r\n\r\n') and (more := live.recv(4096)):
                told += more
            seconds = time.monotonic() - begun
        except OSError:
            seconds = None
        asked = [
            server.ask('GET', '/v1/jobs')[0],
            server.ask('POST', '/v1/keys', {'role': 'admin'})[0],
            server.ask('GET', '/v1/jobs', headers={'authorization': f'Bearer {made["secret"]}'})[0],
            server.ask('GET', '/v1/jobs', headers={'authorization': 'Bearer vgpo_zzz'})[0],
        ]
    ended = 'no end' if seconds is None else f'ended after {seconds:.1f} s'
    return [
        row('an open stream of a revoked key', 'ends within seconds', ended, b' 200 ' in opened and gone == 200 and seconds is not None and seconds < 10),
        row('no key, the revoked one, a wrong one, after the last key was revoked', '401', str(asked), set(asked) == {401}),
    ]
