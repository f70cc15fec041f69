"""Rewards with parts without number, and webhooks that never answer."""
import socket
import time

from _place import Health, Server, at_once, row


def attack(vgpo):
    with socket.create_server(('127.0.0.1', 0)) as silent:
        port = silent.getsockname()[1]
        with Server(vgpo, env={'VGPO_WEBHOOK_HOSTS': f'127.0.0.1:{port}'}) as server:
            items = [{'response': '\\boxed{1}', 'ground_truth': '1'}] * 1000
            parts = lambda count: {'type': 'weighted', 'parts': [{'weight': 1, 'reward': {'type': 'math'}}] * count}
            with Health(server) as health:
                begun = time.monotonic()
                many = server.ask('POST', '/v1/rewards/evaluate', {'reward': parts(10_000), 'items': items})[0]
                most = server.ask('POST', '/v1/rewards/evaluate', {'reward': parts(32), 'items': items})[0]
                seconds, peak = time.monotonic() - begun, server.figure('VmHWM')
            rows = [row('a reward of 10,000 parts, and one of 32', '422, 200', f'{many}, {most}, {seconds:.1f} s, peak {peak:,} MB, {health.told()}',
                        (many, most) == (422, 200) and peak < 1024 and health.well())]
            hook = {'type': 'webhook', 'url': f'http://127.0.0.1:{port}/', 'timeout_seconds': 3600, 'retries': 20}
            with Health(server) as health:
                begun = time.monotonic()
                statuses = at_once(520, lambda _: server.ask('POST', '/v1/rewards/evaluate', {'reward': hook, 'items': items[:1]}, timeout=3)[0])
                others = [server.ask('GET', path)[0] for path in ('/readyz', '/v1/datasets/digits/rows')]
                seconds = time.monotonic() - begun
            ended = server.end(60)
            rows.append(row(
                '520 trials of a webhook that never answers', '503 where there is no place; others are answered',
                f'{sorted(set(statuses))}, others {others}, {seconds:.1f} s, {health.told()}', set(statuses) <= {0, 503} and others == [200, 200] and health.failed == 0))
            rows.append(row('SIGTERM after them', 'ends in its grace time', 'no end in 60 s' if ended is None else f'{ended:.1f} s', ended is not None and ended < 20))
    return rows
