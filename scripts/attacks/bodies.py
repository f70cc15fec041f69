"""Bodies that become large in memory, or in the answer."""
import json
import time

from _place import Health, Server, at_once, row


def attack(vgpo):
    rows = []
    message = [{'role': 'user', 'content': 'x'}]
    long = 'a' * 4_000_000
    bombs = {
        'names times NULs, without a key': ('/v1/session', '{"%s": [%s]}' % ('n' * 500_000, ','.join(['"\\u0000"'] * 50_000)), False),
        'names times NULs': ('/v1/chat/completions', '{"%s": [%s]}' % ('n' * 500_000, ','.join(['"\\u0000"'] * 50_000)), True),
        'a list of objects, 33 MB, without a key': ('/v1/session', '{"key":[%s{"":0}]}' % ('{"":0},' * 4_700_000), False),
        'a list of objects, 32 MB': ('/v1/score', '{"model":"starter","method":[%s{"":0}]}' % ('{"":0},' * 4_600_000), True),
        'a list of empty texts, 32 MB': ('/generate', '{"model":"starter","images":[%s""]}' % ('"",' * 10_900_000), True),
        'metadata of 32 MB': ('/v1/chat/completions', json.dumps({'model': 'nothing', 'messages': message})[:-1] + ',"metadata":[%s0]}' % ('0,' * 16_000_000), True),
        'a part of 32 MB': ('/generate', '{"model":"starter","messages":[{"role":"user","content":[{"type":"video","video":[%s0]}]}]}' % ('0,' * 16_000_000), True),
        'a field name of 4 MB': ('/v1/chat/completions', json.dumps({'model': 'starter', 'messages': message, long: 1}), True),
        'a model name of 30 MB': ('/generate', json.dumps({'model': 'a' * 30_000_000, 'messages': message}), True),
        '100,000 unknown fields': ('/v1/jobs', json.dumps({f'field{n}': 1 for n in range(60_000)})[:1_000_000], True),
        '250,000 labels': ('/v1/jobs', json.dumps({'model': 'starter', 'dataset': 'digits', 'tags': {f't{n}': 'x' for n in range(60_000)}}), True),
    }
    for name, (path, body, keyed) in bombs.items():
        with Server(vgpo, key=True) as server, Health(server) as health:
            begun = time.monotonic()
            answers = at_once(3, lambda _: server.ask('POST', path, body, key=keyed))
            seconds, peak, alive = time.monotonic() - begun, server.figure('VmHWM'), server.alive()
            statuses, largest = sorted({status for status, _ in answers}), max(len(answer) for _, answer in answers)
        # A body that is refused before it was read may end its connection before the client reads why.
        held = alive and all(status == 0 or 400 <= status < 504 for status in statuses) and largest < 8192 and peak < 1024
        rows.append(row(
            f'{name} ({len(body):,} bytes), 3 at once', 'refused in less than 8 KB, below 1 GB',
            f'{statuses}, {largest:,} bytes, {seconds:.1f} s, peak {peak:,} MB, {health.told()}', held and health.well()))
    return rows
