"""Prompt templates whose every instruction costs what the prompt is long."""
import json
import time

from _place import Health, Server, row

TEMPLATES = [
    '{% for a in prompt|list %}{% if prompt|list|sort|length == 0 %}x{% endif %}{% endfor %}',
    "{% for a in prompt %}{% if prompt|split(' ')|join(',') == '' %}x{% endif %}{% endfor %}",
    "{% for a in prompt %}{% for b in prompt %}{% if prompt[::-1] == '' %}x{% endif %}{% endfor %}{% endfor %}",
]


def attack(vgpo):
    with Server(vgpo) as server:
        rows = ''.join(json.dumps({'problem': 'word ' * 40_000, 'answer': 'b'}) + '\n' for _ in range(20))
        server.ask('POST', '/v1/datasets?name=long', rows, {'content-type': 'application/x-ndjson'})
        for _ in range(300):
            if json.loads(server.ask('GET', '/v1/datasets/long')[1])['state'] in ('ready', 'invalid'):
                break
            time.sleep(0.1)
        told = []
        with Health(server) as health:
            for template in TEMPLATES:
                begun = time.monotonic()
                job = {'model': 'starter', 'dataset': 'long', 'data': {'prompt_template': template}}
                status, _ = server.ask('POST', '/v1/jobs?dry_run=true', job)
                told.append((status, round(time.monotonic() - begun, 1)))
        # Clients that are gone must not keep the server.
        head = 'POST /v1/jobs?dry_run=true HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n'
        body = json.dumps({'model': 'starter', 'dataset': 'long', 'data': {'prompt_template': TEMPLATES[0]}})
        for _ in range(8):
            server.connect((head.format(len(body)) + body).encode()).close()
        ended = server.end(60)
    return [
        row('templates over a prompt of 200,000 characters', 'refused within seconds', f'{told}, {health.told()}',
            all(status == 422 and seconds < 10 for status, seconds in told) and health.well()),
        row('SIGTERM while eight of them run', 'ends in its grace time', 'no end in 60 s' if ended is None else f'{ended:.1f} s', ended is not None and ended < 20),
    ]
