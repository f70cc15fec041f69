"""Small files that unpack to a great deal: Parquet dictionaries, one picture many times, colour profiles, empty files."""
import base64
import io
import json
import struct
import time
import zipfile
import zlib

from _place import GB, Server, row

MOST_MEGABYTES = 1024
PATIENCE = 300


def checked(server, body, kind):
    """Uploads a data set and waits for the end of its check; its state, its first fault, its rows, and the seconds."""
    status, answer = server.ask('POST', '/v1/datasets?name=attack', body, {'content-type': kind})
    begun = time.monotonic()
    while status == 202 and time.monotonic() - begun < PATIENCE and server.alive():
        entry = json.loads(server.ask('GET', '/v1/datasets/attack')[1])
        if entry['state'] in ('ready', 'invalid'):
            faults = (entry.get('report') or {}).get('errors') or [{'problem': ''}]
            rows = entry['train_rows'] + entry['eval_rows']
            return entry['state'], faults[0]['problem'], rows, time.monotonic() - begun
        time.sleep(0.2)
    return 'no end', f'{status} {answer[:200]}', 0, time.monotonic() - begun


# Parquet, as much as is needed: the compact form of Thrift, dictionary pages, no compression.
def varint(value):
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def whole(value):
    return varint(value << 1)


def text(value):
    return varint(len(value)) + value.encode()


def many(kind, items):
    head = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind]) + varint(len(items))
    return head + b"".join(items)


def record(*fields):
    out, last = b"", 0
    for number, kind, value in fields:
        out, last = out + bytes([(number - last) << 4 | kind]) + value, number
    return out + b"\0"


I32, I64, TEXT, LIST, RECORD = 5, 6, 8, 9, 12


def parquet(columns, rows):
    """A file whose rows all have the same texts."""
    out, chunks = b"PAR1", []
    for name, value in columns:
        entry = struct.pack("<I", len(value)) + value.encode()
        run = b"\x01" + varint(rows << 1) + b"\0"
        start = len(out)
        sizes = [(2, I32, whole(len(entry))), (3, I32, whole(len(entry)))]
        out += record((1, I32, whole(2)), *sizes, (7, RECORD, record((1, I32, whole(1)), (2, I32, whole(0))))) + entry
        data = len(out)
        about = record((1, I32, whole(rows)), (2, I32, whole(8)), (3, I32, whole(3)), (4, I32, whole(3)))
        out += record((1, I32, whole(0)), (2, I32, whole(len(run))), (3, I32, whole(len(run))), (5, RECORD, about)) + run
        size = whole(len(out) - start)
        chunks.append(record((2, I64, whole(start)), (3, RECORD, record(
            (1, I32, whole(6)), (2, LIST, many(I32, [whole(0), whole(8)])), (3, LIST, many(TEXT, [text(name)])),
            (4, I32, whole(0)), (5, I64, whole(rows)), (6, I64, size), (7, I64, size), (9, I64, whole(data)),
            (11, I64, whole(start))))))
    root = record((4, TEXT, text("rows")), (5, I32, whole(len(columns))))
    leaf = lambda name: record((1, I32, whole(6)), (3, I32, whole(0)), (4, TEXT, text(name)), (6, I32, whole(0)))
    schema = many(RECORD, [root] + [leaf(name) for name, _ in columns])
    group = record((1, LIST, many(RECORD, chunks)), (2, I64, whole(len(out))), (3, I64, whole(rows)))
    footer = record((1, I32, whole(1)), (2, LIST, schema), (3, I64, whole(rows)), (4, LIST, many(RECORD, [group])))
    return out + footer + struct.pack("<I", len(footer)) + b"PAR1"


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def zeros(count):
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join(parts) + packer.flush()


def png(width, height, more=b""):
    packer = zlib.compressobj(9)
    line = bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def packed(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


PARQUET = 'application/vnd.apache.parquet'


def within(server):
    """Is it alive, and did it stay within its memory?"""
    return server.alive() and server.figure('VmHWM') <= MOST_MEGABYTES


def told(server, text):
    return f'{text}, {server.figure("VmHWM")} MB' if server.alive() else f'{text}, the server is dead'


def files(vgpo, tried, wanted, body, kind, held):
    with Server(vgpo, memory=4 * GB) as server:
        state, fault, rows, seconds = checked(server, body, kind)
        seen = told(server, f'{state} after {seconds:.1f} s: {fault[:120]}')
        return row(f'{tried} ({len(body)} bytes)', wanted, seen, held(state, fault, rows, seconds) and within(server))


def profiles(vgpo):
    for name, start in ((b'iCCP', b'a\0\0'), (b'zTXt', b'a\0\0'), (b'iTXt', b'a\0\1\0\0\0')):
        file = png(56, 56, chunk(name, start + zeros(GB)))
        content = [{'type': 'image', 'image': 'data:image/png;base64,' + base64.b64encode(file).decode()}, {'type': 'text', 'text': '?'}]
        body = {'model': 'starter', 'messages': [{'role': 'user', 'content': content}], 'max_new_tokens': 1}
        with Server(vgpo, memory=4 * GB) as server:
            status, _ = server.ask('POST', '/generate', body)
            yield row(f'a picture with 1 GB of {name.decode()} ({len(file)} bytes)', 'answered within 1 GB', told(server, f'status {status}'),
                      status == 200 and within(server))


def attack(vgpo):
    large = [('problem', 'x' * 100_000), ('answer', '5')]
    usual = [('problem', 'what is it ? ' * 80), ('answer', '5')]
    picture = [('a.png', png(7000, 7000))]
    line = {'problem': 'What?', 'answer': '1'}
    many = packed(picture + [('rows.jsonl', json.dumps({**line, 'images': ['a.png'] * 60}).encode())])
    empty = packed([(f'{number}.png', b'') for number in range(70_000)] + [('rows.jsonl', json.dumps(line).encode())])
    return [
        files(vgpo, 'Parquet of 100 GB by its dictionary', 'refused within 1 GB', parquet(large, 1_000_000), PARQUET,
              lambda state, fault, rows, seconds: state == 'invalid' and 'rows have more than' in fault),
        files(vgpo, '200,000 rows of one prompt', 'ready within 1 GB', parquet(usual, 200_000), PARQUET,
              lambda state, fault, rows, seconds: state == 'ready' and rows == 200_000),
        files(vgpo, 'a row with one picture of 49 million pixels 60 times', 'refused within 1 GB', many, 'application/zip',
              lambda state, fault, rows, seconds: state == 'invalid' and 'pixels so far' in fault),
        files(vgpo, 'a zip of 70,000 empty files', 'checked within a minute', empty, 'application/zip',
              lambda state, fault, rows, seconds: state == 'ready' and seconds < 60),
        *profiles(vgpo),
    ]
