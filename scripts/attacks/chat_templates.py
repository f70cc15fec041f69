"""Chat templates of hostile models: without end, without bottom, and larger than any memory."""
import glob
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time

from _place import GB, Health, Server, at_once, row

# Each waits for the word, so that the model can be registered.
WHEN = "{%% if messages[0].content == 'now' or messages[0].content[0].text == 'now' %%}%s{%% endif %%}{{ messages[0].content }}"
RAW = 'x' * 1_000_000
BOMBS = {
    'doubles a variable 40 times': "{% set ns = namespace(x='0123456789abcdef') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x|length }}",
    'adds a text to itself 40 times': "{% set ns = namespace(x='0123456789abcdef') %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}",
    'doubles a block 40 times': "{% set ns = namespace(x='0123456789abcdef') %}{% for i in range(40) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}{{ ns.x|length }}",
    'doubles what a macro writes': '{% macro d(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns = namespace(x=\'0123456789abcdef\') %}{% for i in range(40) %}{% set ns.x = d(ns.x) %}{% endfor %}{{ ns.x|length }}',
    'replaces each letter by the whole': "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(8) %}{% set ns.x = ns.x|replace('a', ns.x) %}{% endfor %}{{ ns.x|length }}",
    'joins by the whole': "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(8) %}{% set ns.x = ns.x|list|join(ns.x) %}{% endfor %}{{ ns.x|length }}",
    'replaces by a method': "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(8) %}{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}{{ ns.x|length }}",
    'a list of itself, 60 deep, as text': "{% set ns = namespace(x=['a']) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    'a list of itself, 60 deep, as JSON': "{% set ns = namespace(x=['a']) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    'a list of itself, 60 deep, compared': "{% set ns = namespace(x=['a'], y=['a']) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    'a list added to itself 50 times': '{% set ns = namespace(x=[1]) %}{% for i in range(50) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|list|length }}',
    'a list times a billion': '{{ ([1] * 1000000000)|list|length }}',
    'indents a million lines': "{{ ('a\\n' * 1000000)|indent(100000, true)|length }}",
    'formats columns without number': "{{ ('%99999d' * 100000)|format(1)|length }}",
    'writes a megabyte 100,000 times': '{% for i in range(100000) %}' + RAW + '{% endfor %}',
    'sorts a long text 100,000 times': "{% set x = 'ab' * 200000 %}{% for i in range(100000) %}{% if x|list|sort|length == 0 %}x{% endif %}{% endfor %}",
    'turns a long text around 100,000 times': "{% set x = 'ab' * 2000000 %}{% for i in range(100000) %}{% if x[::-1] == '' %}x{% endif %}{% endfor %}",
    'loops 10,000,000,000 times': '{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}',
    'a macro that calls itself': '{% macro r(n) %}{{ r(n + 1) }}{% endmacro %}{{ r(0) }}',
    'a macro that calls itself twice': '{% macro r(n) %}{{ r(n + 1) }}{{ r(n + 1) }}{% endmacro %}{{ r(0) }}',
    'a loop that calls itself': '{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}',
    'a template that includes itself': "{% include 'chat_template' %}",
}
UNREADABLE = {
    'a template of 64 MB': '{# ' + 'x' * (64 << 20) + ' #}{{ messages[0].content }}',
    '100,000 brackets': '{{ ' + '(' * 100_000 + '1' + ')' * 100_000 + ' }}',
    '100,000 blocks, one in the other': '{% if true %}' * 100_000 + '{% endif %}' * 100_000,
    'a bomb that does not wait': BOMBS['doubles a variable 40 times'],
    'a loop that does not wait': BOMBS['loops 10,000,000,000 times'],
}


class Peak:
    """The most memory that a process has while this watches."""

    def __init__(self, server):
        self.server, self.over, self.most = server, False, 0
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        while not self.over and self.server.alive():
            try:
                self.most = max(self.most, self.server.figure('VmRSS'))
            except (OSError, StopIteration):
                return
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


def model(starter, folder, template):
    """The starter with another template."""
    shutil.copytree(starter, folder, ignore=shutil.ignore_patterns('chat_template*'))
    with open(f'{folder}/tokenizer_config.json') as file:
        config = json.load(file)
    config.pop('chat_template', None)
    with open(f'{folder}/tokenizer_config.json', 'w') as file:
        json.dump(config, file)
    with open(f'{folder}/chat_template.jinja', 'w') as file:
        file.write(template)


class Place:
    def __init__(self, vgpo, roots):
        self.roots = roots
        self.server = Server(vgpo, env={'VGPO_MODEL_ROOTS': roots}, memory=6 * GB, key=True)
        made = self.server.ask('POST', '/v1/keys', {'role': 'user', 'project': 'pa'})
        self.user = json.loads(made[1])['secret']
        self.starter = next(path for path in glob.glob(f'{self.server.folder}/models/*') if os.path.exists(f'{path}/model.safetensors'))
        self.number = 0

    def ask(self, path, body, timeout=120):
        begun = time.monotonic()
        status, told = self.server.ask('POST', path, body, timeout=timeout, key=self.user)
        return status, time.monotonic() - begun, told

    def register(self, template):
        self.number += 1
        name = f'bomb{self.number}'
        model(self.starter, f'{self.roots}/{name}', template)
        return name, self.ask('/v1/models', {'name': name, 'source': {'path': f'{self.roots}/{name}'}})

    def generate(self, name, word):
        return self.ask('/generate', {'model': name, 'messages': [{'role': 'user', 'content': word}], 'max_new_tokens': 1})


def shown(answer):
    status, seconds, told = answer
    return f'{status} after {seconds:.1f} s: {told[:160].decode(errors="replace")}'


def bomb(place, name, template):
    registered, answer = place.register(WHEN % template)
    if answer[0] != 201:
        return row(f'a template that {name}' if name[0].islower() and not name.startswith('a ') else name, 'it is registered or refused within 20 s', shown(answer), answer[0] == 422 and answer[1] < 20)
    usual = place.generate(registered, 'hi')[0]
    with Health(place.server) as health, Peak(place.server) as peak:
        one = place.generate(registered, 'now')
        three = at_once(3, lambda _: place.generate(registered, 'now')) if one[0] == 422 else []
    slowest = max(answer[1] for answer in [one, *three])
    statuses = sorted({answer[0] for answer in [one, *three]})
    held = place.server.alive() and statuses == [422] and slowest < 20 and peak.most < 1024 and health.well() and usual == 200
    return row(f'a template with: {name}, once and 3 at once', '422 within 20 s, below 1 GB', f'{statuses}, {slowest:.1f} s, peak {peak.most:,} MB, {health.told()}', held)


def unreadable(place, name, template):
    with Health(place.server) as health, Peak(place.server) as peak:
        _, answer = place.register(template)
    return row(f'registers a model with: {name}', '422 within 30 s, below 1 GB', f'{shown(answer)}; peak {peak.most:,} MB, {health.told()}',
               answer[0] == 422 and answer[1] < 30 and peak.most < 1024 and health.well())


def attack(vgpo):
    roots, rows, place = tempfile.mkdtemp(prefix='vgpo-attack-'), [], None
    try:
        place = Place(vgpo, roots)
        status, _, told = place.ask('/v1/models', {'source': {'hub': 'evil/m'}})
        rows.append(row('a user registers a model of the hub', '403: admins decide whose templates run', f'{status}: {told[:120].decode()}', status == 403))
        for kind, all_of in ((bomb, BOMBS), (unreadable, UNREADABLE)):
            for name, template in all_of.items():
                rows.append(kind(place, name, template))
                if not place.server.alive():
                    place.server.__exit__()
                    place = Place(vgpo, roots := tempfile.mkdtemp(dir=roots))
        ended = place.server.end(60)
        rows.append(row('SIGTERM after all of them', 'ends in its grace time', 'no end in 60 s' if ended is None else f'{ended:.1f} s', ended is not None and ended < 20))
    finally:
        if place:
            place.server.__exit__()
        shutil.rmtree(roots, ignore_errors=True)
    return rows
