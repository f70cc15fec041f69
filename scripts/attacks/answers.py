"""Large answers that browsers want compressed, and documents that need no key."""
import base64
import struct
import time
import zlib

from _place import Health, Server, at_once, row


def picture(side):
    chunk = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    lines = b''.join(b'\0' + bytes((x * 7 + y * 13) % 256 for x in range(side)) for y in range(side))
    png = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(lines)) + chunk(b'IEND', b'')
    return 'data:image/png;base64,' + base64.b64encode(png).decode()


def attack(vgpo):
    with Server(vgpo) as server:
        ask = {'model': 'starter', 'prompt': 'What is it?', 'images': [picture(560)], 'max_new_tokens': 32, 'attention': {'maps': 'tokens', 'format': 'png'}}
        with Health(server) as health:
            begun = time.monotonic()
            answers = at_once(8, lambda _: server.ask('POST', '/generate', ask, {'accept-encoding': 'gzip'}))
            seconds = time.monotonic() - begun
        statuses, largest = sorted({status for status, _ in answers}), max(len(answer) for _, answer in answers)
        rows = [row('8 answers with maps as pictures, gzip wanted', '`/healthz` below 200 ms', f'{statuses}, up to {largest:,} bytes, {seconds:.1f} s, {health.told()}',
                    statuses == [200] and health.well())]
        def used():
            with open(f'/proc/{server.process.pid}/stat') as stat:
                fields = stat.read().rsplit(')', 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / 100
        for path in ('/openapi.json', '/docs'):
            server.ask('GET', path, headers={'accept-encoding': 'gzip'}, key=False)
            before = used()
            for _ in range(200):
                server.ask('GET', path, headers={'accept-encoding': 'gzip'}, key=False)
            each = (used() - before) / 200 * 1000
            rows.append(row(f'`{path}`, 200 times', 'from memory', f'{each:.1f} ms of CPU each', each < 4))
    return rows
