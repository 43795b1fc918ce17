"""Walks botocore's model of ECR: calls every operation of the server that the environment names and holds what comes back,
byte for byte as it is on the wire, against the model. Arguments: the operations that are served, a comma between them, and
those that are refused by name. Prints "ok" at the end."""

import hashlib
import json
import re
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

served, refused = (set(filter(None, a.split(','))) for a in sys.argv[1:3])
ecr = boto3.client('ecr', config=Config(retries={'max_attempts': 1}))
model = ecr.meta.service_model
bodies = []
ecr.meta.events.register('response-received.ecr.*', lambda response_dict, **_: bodies.append(response_dict['body']))
tried, answered = set(), set()

TYPES = {
    'string': str, 'structure': dict, 'list': list, 'map': dict, 'boolean': bool,
    'integer': int, 'long': int, 'float': (int, float), 'double': (int, float), 'timestamp': (int, float),
}


def check(shape, value, path):
    """Holds a value against its shape."""
    if shape.type_name == 'blob':
        assert isinstance(value, str), (path, value)
        return
    assert isinstance(value, TYPES[shape.type_name]), (path, shape.type_name, value)
    assert not (isinstance(value, bool) and shape.type_name != 'boolean'), (path, value)
    limits = shape.metadata
    if shape.type_name == 'structure':
        for name in shape.required_members:
            assert name in value, (path, name, 'is required')
        for name, member in value.items():
            assert name in shape.members, (path, name, 'is not in the model')
            check(shape.members[name], member, path + '.' + name)
    elif shape.type_name == 'list':
        assert limits.get('min', 0) <= len(value) <= limits.get('max', len(value)), (path, len(value))
        for element in value:
            check(shape.member, element, path + '[]')
    elif shape.type_name == 'map':
        for key, element in value.items():
            check(shape.key, key, path + '{}')
            check(shape.value, element, path + '.' + key)
    elif shape.type_name == 'string':
        assert limits.get('min', 0) <= len(value) <= limits.get('max', len(value)), (path, value)
        assert not shape.enum or value in shape.enum, (path, value)
        if limits.get('pattern') and value and not path.endswith('.uploadId'):  # ours are longer: they are signed
            assert re.fullmatch(limits['pattern'], value), (path, value)


def call(name, error=None, /, **arguments):
    """Calls an operation, which answers, or fails with one of its errors."""
    tried.add(name)
    operation = model.operation_model(name)
    method = re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()
    try:
        out = getattr(ecr, method)(**arguments)
    except ClientError as e:
        code = e.response['Error']['Code']
        assert error and code == error, (name, e)
        shapes = {s.error_code if s.metadata.get('error', {}).get('code') else s.name: s for s in operation.error_shapes}
        assert code in shapes, (name, code, 'is not one of its errors')
        body = json.loads(bodies[-1])
        assert body.pop('__type') == code, body
        check(shapes[code], body, name + '!' + code)
        answered.add(name)
        return None
    assert not error, (name, 'was not refused')
    check(operation.output_shape, json.loads(bodies[-1]), name)
    answered.add(name)
    return out


def layer(repository, data):
    upload = call('InitiateLayerUpload', repositoryName=repository)['uploadId']
    call('UploadLayerPart', repositoryName=repository, uploadId=upload, partFirstByte=0, partLastByte=len(data) - 1, layerPartBlob=data)
    digest = 'sha256:' + hashlib.sha256(data).hexdigest()
    call('CompleteLayerUpload', repositoryName=repository, uploadId=upload, layerDigests=[digest])
    return digest


IMAGE = 'application/vnd.oci.image.manifest.v1+json'


def image(config, subject=None, **more):
    described = {
        'schemaVersion': 2, 'mediaType': IMAGE, 'layers': [],
        'config': {'mediaType': 'application/vnd.oci.image.config.v1+json', 'digest': config, 'size': 2}, **more}
    if subject:
        described['subject'] = {'mediaType': IMAGE, 'digest': subject[0], 'size': subject[1]}
    return json.dumps(described)


# Whose registry.
registry = call('DescribeRegistry')
account = registry['registryId']
region = ecr.meta.region_name
call('GetAuthorizationToken')
role = f'arn:aws:iam::{account}:role/ecr'
secret = f'arn:aws:secretsmanager:{region}:{account}:secret:ecr-pullthroughcache/hub-AbCdEf'
policy = json.dumps({'Version': '2012-10-17', 'Statement': [
    {'Effect': 'Allow', 'Principal': {'AWS': f'arn:aws:iam::{account}:root'}, 'Action': 'ecr:BatchGetImage'}]}, indent=1)
lifecycle = json.dumps({'rules': [{
    'rulePriority': 1, 'action': {'type': 'expire'},
    'selection': {'tagStatus': 'untagged', 'countType': 'sinceImagePushed', 'countUnit': 'days', 'countNumber': 14}}]})
mutability = {
    'imageTagMutability': 'IMMUTABLE_WITH_EXCLUSION',
    'imageTagMutabilityExclusionFilters': [{'filterType': 'WILDCARD', 'filter': 'dev-*'}]}

# Repositories.
made = call(
    'CreateRepository', repositoryName='team/app', tags=[{'Key': 'a', 'Value': 'b'}], imageScanningConfiguration={'scanOnPush': True},
    encryptionConfiguration={'encryptionType': 'KMS', 'kmsKey': f'arn:aws:kms:{region}:{account}:key/1'})['repository']
call('CreateRepository', 'RepositoryAlreadyExistsException', repositoryName='team/app')
call('DescribeRepositories')
call('DescribeRepositories', 'RepositoryNotFoundException', repositoryNames=['team/none'])
call('PutImageTagMutability', repositoryName='team/app', **mutability)
call('DescribeRepositories', repositoryNames=['team/app'])
call('PutImageTagMutability', repositoryName='team/app', imageTagMutability='MUTABLE')
call('PutImageScanningConfiguration', repositoryName='team/app', imageScanningConfiguration={'scanOnPush': False})
call('TagResource', resourceArn=made['repositoryArn'], tags=[{'Key': 'c', 'Value': 'd'}])
call('ListTagsForResource', resourceArn=made['repositoryArn'])
call('UntagResource', resourceArn=made['repositoryArn'], tagKeys=['c'])
call('GetRepositoryPolicy', 'RepositoryPolicyNotFoundException', repositoryName='team/app')
call('SetRepositoryPolicy', repositoryName='team/app', policyText=policy)
assert call('GetRepositoryPolicy', repositoryName='team/app')['policyText'] == policy
call('DeleteRepositoryPolicy', repositoryName='team/app')
call('GetLifecyclePolicy', 'LifecyclePolicyNotFoundException', repositoryName='team/app')
call('PutLifecyclePolicy', repositoryName='team/app', lifecyclePolicyText=lifecycle)
call('GetLifecyclePolicy', repositoryName='team/app')
call('GetLifecyclePolicyPreview', 'LifecyclePolicyPreviewNotFoundException', repositoryName='team/app')
call('DeleteLifecyclePolicy', repositoryName='team/app')

# Images.
config = layer('team/app', b'{}')
call('BatchCheckLayerAvailability', repositoryName='team/app', layerDigests=[config, 'sha256:' + '0' * 64])
call('GetDownloadUrlForLayer', repositoryName='team/app', layerDigest=config)
manifest = image(config)
put = call('PutImage', repositoryName='team/app', imageManifest=manifest, imageTag='v1')['image']['imageId']
digest = put['imageDigest']
call('PutImage', repositoryName='team/app', imageManifest=image(config, (digest, len(manifest)), artifactType='application/x-report'))
call('PutImage', repositoryName='team/app', imageManifest=image(config, annotations={'a': 'b'}))
call('BatchGetImage', repositoryName='team/app', imageIds=[{'imageTag': 'v1'}, {'imageTag': 'none'}])
call('DescribeImages', repositoryName='team/app')
call('DescribeImages', 'ImageNotFoundException', repositoryName='team/app', imageIds=[{'imageTag': 'none'}])
call('ListImages', repositoryName='team/app', maxResults=1)
assert call('ListImageReferrers', repositoryName='team/app', subjectId={'imageDigest': digest})['referrers']
one = {'repositoryName': 'team/app', 'imageId': {'imageTag': 'v1'}}
call('DescribeImageScanFindings', 'ScanNotFoundException', **one)
call('DescribeImageReplicationStatus', **one)
call('DescribeImageSigningStatus', **one)
call('UpdateImageStorageClass', targetStorageClass='ARCHIVE', **one)
call('DescribeImages', repositoryName='team/app', filter={'imageStatus': 'ANY'})
call('UpdateImageStorageClass', targetStorageClass='STANDARD', **one)

# The registry as a whole.
call('GetRegistryPolicy', 'RegistryPolicyNotFoundException')
call('PutRegistryPolicy', 'InvalidParameterException', policyText='{}')
on_registry = json.dumps({'Version': '2012-10-17', 'Statement': [{
    'Sid': 'x', 'Effect': 'Allow', 'Principal': {'AWS': 'arn:aws:iam::444455556666:root'}, 'Action': ['ecr:ReplicateImage'],
    'Resource': [f'arn:aws:ecr:{region}:{account}:repository/*']}]}, indent=3)
call('PutRegistryPolicy', policyText=on_registry)
assert call('GetRegistryPolicy')['policyText'] == on_registry
assert call('DeleteRegistryPolicy')['policyText'] == on_registry
for name, default, value in (
        ('BASIC_SCAN_TYPE_VERSION', 'AWS_NATIVE', 'CLAIR'), ('REGISTRY_POLICY_SCOPE', 'V2', 'V1'), ('BLOB_MOUNTING', 'ENABLED', 'DISABLED')):
    assert call('GetAccountSetting', name=name)['value'] == default
    call('PutAccountSetting', name=name, value=value)
    assert call('GetAccountSetting', name=name)['value'] == value
call('PutAccountSetting', 'InvalidParameterException', name='NOPE', value='V1')
principal = f'arn:aws:iam::{account}:user/scanner'
call('RegisterPullTimeUpdateExclusion', principalArn=principal)
call('RegisterPullTimeUpdateExclusion', 'ExclusionAlreadyExistsException', principalArn=principal)
assert call('ListPullTimeUpdateExclusions')['pullTimeUpdateExclusions'] == [principal]
call('DeregisterPullTimeUpdateExclusion', principalArn=principal)
call('DeregisterPullTimeUpdateExclusion', 'ExclusionNotFoundException', principalArn=principal)

call('CreateRepositoryCreationTemplate', prefix='ROOT', appliedFor=['PULL_THROUGH_CACHE'])
template = call(
    'CreateRepositoryCreationTemplate', prefix='prod', appliedFor=['CREATE_ON_PUSH', 'REPLICATION'], description='d',
    encryptionConfiguration={'encryptionType': 'AES256'}, resourceTags=[{'Key': 'a', 'Value': 'b'}], repositoryPolicy=policy,
    lifecyclePolicy=lifecycle, customRoleArn=role, **mutability)['repositoryCreationTemplate']
assert template['repositoryPolicy'] == policy and template['imageTagMutabilityExclusionFilters'], template
call('CreateRepositoryCreationTemplate', 'TemplateAlreadyExistsException', prefix='prod', appliedFor=['REPLICATION'])
call('UpdateRepositoryCreationTemplate', prefix='prod', description='other')
call('UpdateRepositoryCreationTemplate', 'TemplateNotFoundException', prefix='none')
pages = ecr.get_paginator('describe_repository_creation_templates').paginate(PaginationConfig={'PageSize': 1})
assert [t['prefix'] for page in pages for t in page['repositoryCreationTemplates']] == ['ROOT', 'prod']
call('DescribeRepositoryCreationTemplates')
call('DescribeRepositoryCreationTemplates', prefixes=['prod'])
call('DeleteRepositoryCreationTemplate', prefix='prod')

call('CreatePullThroughCacheRule', ecrRepositoryPrefix='quay', upstreamRegistryUrl='quay.io')
call('CreatePullThroughCacheRule', 'PullThroughCacheRuleAlreadyExistsException', ecrRepositoryPrefix='quay', upstreamRegistryUrl='quay.io')
call('CreatePullThroughCacheRule', 'UnsupportedUpstreamRegistryException', ecrRepositoryPrefix='hub', upstreamRegistryUrl='registry-1.docker.io')
call(
    'CreatePullThroughCacheRule', ecrRepositoryPrefix='hub', upstreamRegistryUrl='registry-1.docker.io', upstreamRegistry='docker-hub',
    credentialArn=secret, customRoleArn=role, upstreamRepositoryPrefix='library')
call('UpdatePullThroughCacheRule', ecrRepositoryPrefix='hub', credentialArn=secret + 'x')
call('UpdatePullThroughCacheRule', 'PullThroughCacheRuleNotFoundException', ecrRepositoryPrefix='none', credentialArn=secret)
pages = ecr.get_paginator('describe_pull_through_cache_rules').paginate(PaginationConfig={'PageSize': 1})
assert [r['ecrRepositoryPrefix'] for page in pages for r in page['pullThroughCacheRules']] == ['hub', 'quay']
call('DescribePullThroughCacheRules')
call('DescribePullThroughCacheRules', 'PullThroughCacheRuleNotFoundException', ecrRepositoryPrefixes=['none'])
call('DeletePullThroughCacheRule', ecrRepositoryPrefix='hub')

replication = {'rules': [{
    'destinations': [{'region': 'us-west-2', 'registryId': account}],
    'repositoryFilters': [{'filter': 'prod', 'filterType': 'PREFIX_MATCH'}]}]}
call('PutReplicationConfiguration', replicationConfiguration=replication)
assert call('DescribeRegistry')['replicationConfiguration'] == replication
replication['rules'][0]['destinations'][0]['region'] = region
call('PutReplicationConfiguration', 'InvalidParameterException', replicationConfiguration=replication)
rules = [
    {'scanFrequency': 'SCAN_ON_PUSH', 'repositoryFilters': [{'filter': '*', 'filterType': 'WILDCARD'}]},
    {'scanFrequency': 'CONTINUOUS_SCAN', 'repositoryFilters': [{'filter': 'team/*', 'filterType': 'WILDCARD'}]}]
assert call('GetRegistryScanningConfiguration')['scanningConfiguration'] == {'scanType': 'BASIC', 'rules': []}
call('PutRegistryScanningConfiguration', scanType='ENHANCED', rules=rules)
assert call('GetRegistryScanningConfiguration')['scanningConfiguration'] == {'scanType': 'ENHANCED', 'rules': rules}
scanned = call('BatchGetRepositoryScanningConfiguration', repositoryNames=['team/app', 'team/none'])
assert scanned['scanningConfigurations'][0]['scanFrequency'] == 'CONTINUOUS_SCAN', scanned
assert scanned['failures'][0]['failureCode'] == 'REPOSITORY_NOT_FOUND', scanned
signing = {'rules': [{
    'signingProfileArn': f'arn:aws:signer:{region}:{account}:/signing-profiles/it',
    'repositoryFilters': [{'filter': 'prod/*', 'filterType': 'WILDCARD_MATCH'}]}]}
call('GetSigningConfiguration', 'SigningConfigurationNotFoundException')
call('PutSigningConfiguration', signingConfiguration=signing)
assert call('GetSigningConfiguration')['signingConfiguration'] == signing
call('DeleteSigningConfiguration')

call('BatchDeleteImage', repositoryName='team/app', imageIds=[{'imageTag': 'v1'}, {'imageTag': 'none'}])
call('DeleteRepository', 'RepositoryNotEmptyException', repositoryName='team/app')
call('DeleteRepository', repositoryName='team/app', force=True)

# What is refused, and that nothing was forgotten.
least = {
    'StartImageScan': one, 'StartLifecyclePolicyPreview': {'repositoryName': 'team/app'}, 'ValidatePullThroughCacheRule': {'ecrRepositoryPrefix': 'quay'}}
for name in refused & set(model.operation_names):
    try:
        getattr(ecr, re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower())(**least[name])
    except ClientError as e:
        assert e.response['Error']['Code'] == 'UnsupportedOperationException', e
        assert e.response['Error']['Message'].startswith(f'The operation ecr:{name} is not supported by this server. '), e
    else:
        raise AssertionError(f'{name} was not refused')
forgotten = set(model.operation_names) - served - refused
assert not forgotten, f'neither served nor refused by name: {sorted(forgotten)}'
untested = (served & set(model.operation_names)) - answered
assert not untested, f'never answered: {sorted(untested)}'
assert tried <= served, sorted(tried - served)
print('ok')
