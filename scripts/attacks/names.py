"""Many who want one name at the same moment."""
import glob
import json
import os
import shutil
import subprocess
import tempfile

from _place import at_once, row
from _postgres import Postgres
from _storage import CannotRun, Server

ROUNDS = 25
JOB = {'model': 'starter', 'dataset': 'digits', 'steps': 1, 'batch': {'prompts_per_step': 2}, 'eval_rows': 4, 'eval_before': False, 'checkpoint_every': 1}


class Place:
    """Servers on one database (two where it is PostgreSQL), and a user of each of two projects."""

    def __init__(self, vgpo, folder, env, hosts):
        self.roots = f'{folder}/roots'
        env = {'VGPO_ARTIFACTS_URL': f'file:{folder}/artifacts', 'VGPO_MODEL_ROOTS': self.roots, **env}
        key = lambda role, project: self.made(vgpo, env, f'{folder}/0', role, project)
        self.admin, *self.users = key('admin', 'default'), key('user', 'pa'), key('user', 'pb')
        self.servers = [Server(vgpo, f'{folder}/{at}', devices='cpu' if at == 0 else 'none', env=env) for at in range(hosts)]
        starter = next(path for path in glob.glob(f'{folder}/0/models/*') if os.path.exists(f'{path}/model.safetensors'))
        for name in ('pa', 'pb'):
            shutil.copytree(starter, f'{self.roots}/{name}')

    @staticmethod
    def made(vgpo, env, data, role, project):
        command = [vgpo, 'keys', 'create', '--role', role, '--project', project, '--json', '--data', data]
        done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)['secret']

    def ask(self, method, path, body=None, key=None, host=0):
        server = self.servers[host % len(self.servers)]
        return server.ask(method, path, body, {'Authorization': f'Bearer {key or self.admin}'})[:2]

    def race(self, method, path, bodies):
        """Eight requests at the same moment, of both projects by turns, at all servers; their statuses and answers by project."""
        one = lambda at: self.ask(method, path(at) if callable(path) else path, bodies(at), self.users[at % 2], at // 2)
        answers = at_once(8, one)
        return answers[0::2], answers[1::2]

    def stop(self):
        for server in self.servers:
            server.stop()


def told(statuses, problems):
    return ', '.join(f'{times} times {status}' for status, times in sorted(statuses.items())) + (f', {len(problems)} wrong: {problems[:3]}' if problems else '')


def winners(answers, success):
    return sum(status in success for status, _ in answers)


def clear(answers, name):
    """Is every refusal a 409 that names what is taken?"""
    return all(status == 409 and name in str(body.get('detail')) for status, body in answers if status >= 400)


def refusals(sides):
    return sorted({f'{status} {body.get("detail")}'[:120] for status, body in sides[0] + sides[1] if status >= 400})


def count(statuses, sides):
    for status, _ in sides[0] + sides[1]:
        statuses[status] = statuses.get(status, 0) + 1


def several_owners(place, sides, created, path, name):
    """What is wrong after a race of two projects: one must have won, and `name` must be its project's."""
    won = [winners(side, (created,)) for side in sides]
    owner = place.ask('GET', f'{path}/{name}')[1].get('project')
    right = ['pa', 'pb'][won.index(1)] if sorted(won) == [0, 1] else None
    if owner == right and clear(sides[0] + sides[1], name):
        return []
    return [f'{won} won, it is of {owner}, {refusals(sides)}']


def models(place, name):
    statuses, problems = {}, []
    for turn in range(ROUNDS):
        model = f'race/m{turn}'
        body = lambda at: {'name': model, 'source': {'path': f'{place.roots}/{("pa", "pb")[at % 2]}'}}
        sides = place.race('POST', '/v1/models', body)
        count(statuses, sides)
        problems += several_owners(place, sides, 201, '/v1/models', model)
    return row(f'{name}: {ROUNDS} times 8 registrations of a model under one name, two projects', 'one 201, and its project has it; the others 409',
               told(statuses, problems), not problems)


def datasets(place, name):
    statuses, problems = {}, []
    for turn in range(ROUNDS):
        dataset = f'race{turn}'
        sides = place.race('POST', '/v1/datasets', lambda _: {'name': dataset, 'source': {'upload': 'parts'}})
        count(statuses, sides)
        problems += several_owners(place, sides, 202, '/v1/datasets', dataset)
    return row(f'{name}: {ROUNDS} times 8 uploads of a data set under one name, two projects', 'one 202, and its project has it; the others 409',
               told(statuses, problems), not problems)


def checkpoint(place, user):
    job = place.ask('POST', '/v1/jobs', JOB, user)[1]
    place.servers[0].wait(lambda: place.ask('GET', f'/v1/jobs/{job["id"]}', key=user)[1].get('state') in ('succeeded', 'failed'), 180)
    return place.ask('GET', f'/v1/checkpoints?run={job["run_id"]}', key=user)[1]['data'][0]['id']


def served(place, name):
    """Within a project a served name may move; into another one it may not, nor may a model or a checkpoint hide the other."""
    checkpoints, statuses, problems = [checkpoint(place, user) for user in place.users], {}, []
    for turn in range(ROUNDS):
        model = f'served/s{turn}'
        sides = place.race('POST', lambda at: f'/v1/checkpoints/{checkpoints[at % 2]}/promote', lambda _: {'name': model})
        count(statuses, sides)
        won = [bool(winners(side, (200,))) for side in sides]
        seen = [place.ask('GET', f'/v1/models/{model}', key=user)[0] for user in place.users]
        if sorted(won) != [False, True] or seen != [200 if one else 404 for one in won] or not clear(sides[0] + sides[1], model):
            problems.append(f'{won} won, {seen}')
    found = [row(f'{name}: {ROUNDS} times 8 checkpoints to be served under one name, two projects', 'one project has it; the other gets 409',
                 told(statuses, problems), not problems)]
    statuses, problems = {}, []
    for turn in range(ROUNDS):
        model = f'either/e{turn}'
        path = lambda at: '/v1/models' if at % 2 else f'/v1/checkpoints/{checkpoints[0]}/promote'
        body = lambda at: {'name': model, 'source': {'path': f'{place.roots}/pb'}} if at % 2 else {'name': model}
        sides = place.race('POST', path, body)
        count(statuses, sides)
        won = [winners(sides[0], (200,)), winners(sides[1], (201,))]
        source = place.ask('GET', f'/v1/models/{model}')[1].get('source')
        if bool(won[0]) == bool(won[1]) or won[1] > 1 or source != (checkpoints[0] if won[0] else 'path') or not clear(sides[0] + sides[1], model):
            problems.append(f'{won} won, it is {source}, {refusals(sides)}')
    return found + [row(f'{name}: {ROUNDS} times a registration and a served checkpoint under one name', 'one of the two has it; the others 409', told(statuses, problems), not problems)]


def keys(place, name):
    """Names of keys are words for people; what must be unique is the key."""
    answers = at_once(40, lambda at: place.ask('POST', '/v1/keys', {'role': 'viewer', 'name': 'the same'}, host=at))
    made = {body.get('id') for _, body in answers} | {body.get('secret') for _, body in answers}
    works = [place.ask('GET', '/v1/jobs', key=body.get('secret'))[0] for _, body in answers]
    return row(f'{name}: 40 keys at once', 'forty different ones, each works', f'{len(made) // 2} different, {works.count(200)} work',
               len(made) == 80 and works == [200] * 40)


def races(vgpo, name, env, hosts):
    folder = tempfile.mkdtemp(prefix='vgpo-attack-')
    try:
        place = Place(vgpo, folder, env, hosts)
        try:
            return [datasets(place, name), models(place, name), *served(place, name), keys(place, name)]
        finally:
            place.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def attack(vgpo):
    found = races(vgpo, 'SQLite', {}, 1)
    try:
        with Postgres() as postgres:
            found += races(vgpo, 'PostgreSQL, two servers', {'VGPO_DATABASE_URL': postgres.url()}, 2)
    except CannotRun as reason:
        found.append(row('the same on PostgreSQL', 'the attack runs', f'it cannot run here: {reason}', False))
    return found
