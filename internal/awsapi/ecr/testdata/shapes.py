"""Holds every answer against botocore's model of the service: what botocore itself would pass over in silence."""

import json
import re

# Where ECR breaks its own model, or we have another form.
EXCEPT = {
    ('uploadId', 'pattern'),   # ours have another form
    ('imageIds', 'max'),       # lists give up to 1,000
}

calls = set()


def watch(client):
    client.meta.events.register('before-parse.' + client.meta.service_model.service_name, _check)
    return client


def _check(operation_model, response_dict, **_):
    if response_dict['status_code'] != 200:
        return
    calls.add(operation_model.name)
    problems = []
    if operation_model.output_shape is None:
        return
    _walk(operation_model.output_shape, json.loads(response_dict['body']), '', '', problems)
    assert not problems, f'{operation_model.name}: {problems}'


def _walk(shape, value, path, name, problems):
    kind = shape.type_name
    if kind == 'structure':
        if not isinstance(value, dict):
            problems.append(f'{path} is no object: {value!r}')
            return
        for key in set(value) - set(shape.members):
            problems.append(f'{path} has no member {key}')
        for key in shape.required_members:
            if key not in value:
                problems.append(f'{path} lacks {key}')
        for key, member in shape.members.items():
            if key in value:
                _walk(member, value[key], f'{path}.{key}', key, problems)
        return
    if kind == 'list':
        if not isinstance(value, list):
            problems.append(f'{path} is no list: {value!r}')
            return
        _bounds(shape, len(value), path, name, problems, minimum=False)
        for i, element in enumerate(value):
            _walk(shape.member, element, f'{path}[{i}]', name, problems)
        return
    if kind == 'map':
        if not isinstance(value, dict):
            problems.append(f'{path} is no map: {value!r}')
            return
        for key, element in value.items():
            _walk(shape.key, key, f'{path} key', name, problems)
            _walk(shape.value, element, f'{path}[{key}]', name, problems)
        return
    types = {'string': str, 'blob': str, 'integer': int, 'long': int, 'boolean': bool, 'timestamp': (int, float), 'double': (int, float), 'float': (int, float)}
    if kind not in types or not isinstance(value, types[kind]) or kind != 'boolean' and isinstance(value, bool):
        problems.append(f'{path} is no {kind}: {value!r}')
        return
    if kind == 'string':
        _bounds(shape, len(value), path, name, problems)
        enum, pattern = shape.metadata.get('enum'), shape.metadata.get('pattern')
        if enum and value not in enum:
            problems.append(f'{path} is none of {enum}: {value!r}')
        if pattern and (name, 'pattern') not in EXCEPT and not re.fullmatch(pattern, value):
            problems.append(f'{path} does not match {pattern}: {value!r}')
    elif kind in ('integer', 'long'):
        _bounds(shape, value, path, name, problems)


def _bounds(shape, n, path, name, problems, minimum=True):
    low, high = shape.metadata.get('min'), shape.metadata.get('max')
    if minimum and low is not None and n < low:
        problems.append(f'{path}: {n} is less than {low}')
    if high is not None and n > high and (name, 'max') not in EXCEPT:
        problems.append(f'{path}: {n} is more than {high}')
