"""Sweeps over far too many values."""
import time

from _place import Health, Server, at_once, row


def attack(vgpo):
    with Server(vgpo) as server, Health(server) as health:
        job = {'model': 'starter', 'dataset': 'digits'}
        rows = []
        for name, grid in (
            ('one setting with 300,000 values', {'seed': list(range(300_000))}),
            ('one setting with 19,000 values', {'seed': list(range(19_000))}),
            ('10,000 settings with one value', {f'a{n}': [1] for n in range(6_000)}),
        ):
            begun = time.monotonic()
            statuses = sorted({status for status, _ in at_once(3, lambda _: server.ask('POST', '/v1/sweeps', {'job': job, 'grid': grid}))})
            seconds = time.monotonic() - begun
            rows.append(row(
                f'a sweep over {name}, 3 at once', 'refused at once', f'{statuses}, {seconds:.2f} s, {health.told()}',
                all(status in (0, 413, 422) for status in statuses) and seconds < 5 and health.well()))
        return rows
