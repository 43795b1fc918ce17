"""Holds the server's answers against the service's model, as they are on the wire."""

import base64
import re
from datetime import datetime
from xml.etree import ElementTree

NAMESPACE = '{https://iam.amazonaws.com/doc/2010-05-08/}'
called = set()


def local(element):
    assert element.tag.startswith(NAMESPACE), f'{element.tag} is in another namespace'
    return element.tag[len(NAMESPACE):]


def check(shape, element, path):
    """Fails if an element is not of a shape."""
    kind = shape.type_name
    if kind == 'structure':
        names = [local(child) for child in element]
        assert len(names) == len(set(names)), f'{path}: {names}'
        for child in element:
            name = local(child)
            assert name in shape.members, f'{path} has no member {name}'
            check(shape.members[name], child, f'{path}.{name}')
        missing = set(shape.required_members) - set(names)
        # Root has no name, and nobody has devices, passwords and the like.
        assert missing <= {'UserName'}, f'{path} lacks {missing}'
        return
    if kind == 'list':
        for child in element:
            assert local(child) == 'member', f'{path}: {child.tag}'
            check(shape.member, child, f'{path}[]')
        return
    if kind == 'map':
        for child in element:
            assert local(child) == 'entry', f'{path}: {child.tag}'
            key, value = child
            assert (local(key), local(value)) == ('key', 'value'), f'{path}: {key.tag}, {value.tag}'
            check(shape.key, key, f'{path}{{}}')
            check(shape.value, value, f'{path}[{key.text}]')
        return
    assert len(element) == 0, f'{path} is a {kind}, and has elements'
    text = element.text or ''
    if kind == 'string':
        low, high = shape.metadata.get('min', 0), shape.metadata.get('max')
        if path.endswith('.UserId') and text.isdigit():
            low = 12  # of root it is the account, at AWS too
        assert low <= len(text) and (high is None or len(text) <= high), f'{path}: {text!r} has a wrong length'
        assert not shape.enum or text in shape.enum, f'{path}: {text!r} is not one of {shape.enum}'
        pattern = shape.metadata.get('pattern')
        pattern = None if pattern and '\\p{' in pattern else pattern  # Python has no such classes
        assert not pattern or re.fullmatch(pattern, text), f'{path}: {text!r} is not {pattern}'
    elif kind == 'boolean':
        assert text in ('true', 'false'), f'{path}: {text}'
    elif kind == 'timestamp':
        datetime.strptime(text, '%Y-%m-%dT%H:%M:%SZ')
    elif kind == 'blob':
        base64.b64decode(text, validate=True)
    elif kind in ('integer', 'long'):
        int(text)
    else:
        raise AssertionError(f'{path}: {kind}')


def before_parse(operation_model, response_dict, **_):
    name = operation_model.name
    if response_dict['status_code'] >= 300:
        return
    called.add(name)
    root = ElementTree.fromstring(response_dict['body'])
    assert local(root) == f'{name}Response', root.tag
    children = {local(child): child for child in root}
    shape = operation_model.output_shape
    wrapper = {f'{name}Result'} if shape else set()
    assert set(children) == wrapper | {'ResponseMetadata'}, f'{name}: {set(children)}'
    if shape:
        check(shape, children[f'{name}Result'], name)


def watch(client):
    """Has every answer to the client checked."""
    client.meta.events.register('before-parse.iam', before_parse)
