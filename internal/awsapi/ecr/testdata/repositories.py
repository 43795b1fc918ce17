"""What is told to repositories and their images, with boto3. Prints "ok" at the end."""

import datetime
import hashlib
import json

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import shapes

ecr = shapes.watch(boto3.client('ecr', config=Config(retries={'max_attempts': 1})))
account = boto3.client('sts').get_caller_identity()['Account']
region = ecr.meta.region_name


def refused(code, call, **arguments):
    """Calls what must fail with the code, and returns the message."""
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response['Error']['Code'] == code, e
        return e.response['Error']['Message']
    raise AssertionError(f'{call} was not refused')


def put_layer(repository, data):
    upload = ecr.initiate_layer_upload(repositoryName=repository)
    digest = 'sha256:' + hashlib.sha256(data).hexdigest()
    if data:
        ecr.upload_layer_part(repositoryName=repository, uploadId=upload['uploadId'],
                              partFirstByte=0, partLastByte=len(data) - 1, layerPartBlob=data)
    ecr.complete_layer_upload(repositoryName=repository, uploadId=upload['uploadId'], layerDigests=[digest])
    return digest


def put_image(repository, marker, tag=None, **more):
    manifest = json.dumps({
        'schemaVersion': 2, 'mediaType': 'application/vnd.oci.image.manifest.v1+json',
        'config': {'mediaType': 'application/vnd.oci.image.config.v1+json', 'digest': config, 'size': 2},
        'layers': [], 'annotations': {'marker': marker}, **more})
    arguments = {'imageTag': tag} if tag else {}
    ecr.put_image(repositoryName=repository, imageManifest=manifest, **arguments)
    return 'sha256:' + hashlib.sha256(manifest.encode()).hexdigest(), manifest


# Settings are echoed: what is left out, Terraform takes for a difference.
for given, echoed in [
    (None, {'encryptionType': 'AES256'}),
    ({'encryptionType': 'AES256'}, {'encryptionType': 'AES256'}),
    ({'encryptionType': 'KMS', 'kmsKey': 'alias/mine'}, {'encryptionType': 'KMS', 'kmsKey': 'alias/mine'}),
    ({'encryptionType': 'KMS'}, None),
    ({'encryptionType': 'KMS_DSSE'}, None),
]:
    more = {'encryptionConfiguration': given} if given else {}
    got = ecr.create_repository(repositoryName='team/settings', **more)['repository']['encryptionConfiguration']
    if echoed is None:
        assert got['encryptionType'] == given['encryptionType'], got
        assert got['kmsKey'].startswith(f'arn:aws:kms:{region}:{account}:key/'), got
    else:
        assert got == echoed, got
    assert ecr.describe_repositories(repositoryNames=['team/settings'])['repositories'][0]['encryptionConfiguration'] == got
    ecr.delete_repository(repositoryName='team/settings')
refused('InvalidParameterException', ecr.create_repository, repositoryName='team/settings',
        encryptionConfiguration={'encryptionType': 'AES256', 'kmsKey': 'alias/mine'})

filters = [{'filterType': 'WILDCARD', 'filter': 'dev-*'}]
ecr.create_repository(repositoryName='team/app', imageTagMutability='IMMUTABLE_WITH_EXCLUSION',
                      imageTagMutabilityExclusionFilters=filters, imageScanningConfiguration={'scanOnPush': True})
repository = ecr.describe_repositories(repositoryNames=['team/app'])['repositories'][0]
assert repository['imageTagMutability'] == 'IMMUTABLE_WITH_EXCLUSION', repository
assert repository['imageTagMutabilityExclusionFilters'] == filters, repository
assert repository['imageScanningConfiguration'] == {'scanOnPush': True}, repository
put = ecr.put_image_tag_mutability(repositoryName='team/app', imageTagMutability='MUTABLE')
assert put['imageTagMutability'] == 'MUTABLE' and 'imageTagMutabilityExclusionFilters' not in put, put
refused('InvalidParameterException', ecr.put_image_tag_mutability, repositoryName='team/app',
        imageTagMutability='MUTABLE', imageTagMutabilityExclusionFilters=filters)
refused('InvalidParameterException', ecr.put_image_tag_mutability, repositoryName='team/app', imageTagMutability='MUTABLE_WITH_EXCLUSION')
refused('RepositoryNotFoundException', ecr.put_image_tag_mutability, repositoryName='nope', imageTagMutability='MUTABLE')
assert ecr.put_image_scanning_configuration(repositoryName='team/app', imageScanningConfiguration={'scanOnPush': False}
                                            )['imageScanningConfiguration'] == {'scanOnPush': False}
got = ecr.batch_get_repository_scanning_configuration(repositoryNames=['team/app', 'nope'])
assert got['scanningConfigurations'][0]['scanFrequency'] == 'MANUAL', got
assert got['failures'][0]['failureCode'] == 'REPOSITORY_NOT_FOUND', got

# Policies come back as they were written.
policy = '{\n\t"Version": "2008-10-17", "Statement": [{"Sid": "caf\u00e9", "Effect": "Allow", "Principal": {"AWS": "444455556666"}, "Action": ["ecr:BatchGetImage"]}]}\n'
message = refused('RepositoryPolicyNotFoundException', ecr.get_repository_policy, repositoryName='team/app')
assert message == f"Repository policy does not exist for the repository with name 'team/app' in the registry with id '{account}'", message
refused('RepositoryPolicyNotFoundException', ecr.delete_repository_policy, repositoryName='team/app')
assert ecr.set_repository_policy(repositoryName='team/app', policyText=policy)['policyText'] == policy
got = ecr.get_repository_policy(repositoryName='team/app')
assert (got['policyText'], got['registryId'], got['repositoryName']) == (policy, account, 'team/app'), got
message = refused('InvalidParameterException', ecr.set_repository_policy, repositoryName='team/app', policyText=policy.replace('Effect', 'Efect'))
assert message.startswith("Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided: line 2, column "), message
refused('InvalidParameterException', ecr.set_repository_policy, repositoryName='team/app', policyText=policy + ' ' * 10240)
refused('RepositoryNotFoundException', ecr.set_repository_policy, repositoryName='nope', policyText=policy, force=True)
assert ecr.delete_repository_policy(repositoryName='team/app')['policyText'] == policy

lifecycle = json.dumps({'rules': [{
    'rulePriority': 1, 'description': 'keep ten', 'action': {'type': 'expire'},
    'selection': {'tagStatus': 'tagged', 'tagPatternList': ['dev-*'], 'countType': 'imageCountMoreThan', 'countNumber': 10}}]}, indent=3)
refused('LifecyclePolicyNotFoundException', ecr.get_lifecycle_policy, repositoryName='team/app')
refused('LifecyclePolicyNotFoundException', ecr.delete_lifecycle_policy, repositoryName='team/app')
assert ecr.put_lifecycle_policy(repositoryName='team/app', lifecyclePolicyText=lifecycle)['lifecyclePolicyText'] == lifecycle
got = ecr.get_lifecycle_policy(repositoryName='team/app')
assert got['lifecyclePolicyText'] == lifecycle and 'lastEvaluatedAt' not in got, got
message = refused('InvalidParameterException', ecr.put_lifecycle_policy, repositoryName='team/app', lifecyclePolicyText=lifecycle.replace('expire', 'keep'))
assert message.startswith("Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: instance value"), message
message = refused('LifecyclePolicyPreviewNotFoundException', ecr.get_lifecycle_policy_preview, repositoryName='team/app')
message = refused('UnsupportedOperationException', ecr.start_lifecycle_policy_preview, repositoryName='team/app')
assert 'ecr:StartLifecyclePolicyPreview' in message, message
assert ecr.delete_lifecycle_policy(repositoryName='team/app')['lifecyclePolicyText'] == lifecycle

# What is there already is said to be.
config = put_layer('team/app', b'{}')
upload = ecr.initiate_layer_upload(repositoryName='team/app')['uploadId']
ecr.upload_layer_part(repositoryName='team/app', uploadId=upload, partFirstByte=0, partLastByte=1, layerPartBlob=b'{}')
refused('LayerAlreadyExistsException', ecr.complete_layer_upload, repositoryName='team/app', uploadId=upload, layerDigests=[config])
refused('EmptyUploadException', ecr.complete_layer_upload, repositoryName='team/app',
        uploadId=ecr.initiate_layer_upload(repositoryName='team/app')['uploadId'], layerDigests=['sha256:' + 64 * '0'])
digest, manifest = put_image('team/app', 'one', 'v1')
message = refused('ImageAlreadyExistsException', ecr.put_image, repositoryName='team/app', imageManifest=manifest, imageTag='v1')
assert message == f"Image with digest '{digest}' and tag 'v1' already exists in the repository with name 'team/app' in registry with id '{account}'", message
refused('ImageAlreadyExistsException', ecr.put_image, repositoryName='team/app', imageManifest=manifest)

# The archive.
other, _ = put_image('team/app', 'two', 'v2')
by_tag = {'imageTag': 'v1'}
moved = ecr.update_image_storage_class(repositoryName='team/app', imageId=by_tag, targetStorageClass='ARCHIVE')
assert moved['imageStatus'] == 'ARCHIVED' and moved['imageId'] == {'imageTag': 'v1', 'imageDigest': digest}, moved
got = ecr.batch_get_image(repositoryName='team/app', imageIds=[by_tag, {'imageTag': 'v2'}])
assert len(got['images']) == 1 and got['failures'][0]['failureCode'] == 'ImageNotFound', got
assert 'is archived' in got['failures'][0]['failureReason'], got


def described(**arguments):
    pages = ecr.get_paginator('describe_images').paginate(repositoryName='team/app', PaginationConfig={'PageSize': 1}, **arguments)
    return sorted((i['imageDigest'], i['imageStatus']) for page in pages for i in page['imageDetails'])


def listed(**arguments):
    pages = ecr.get_paginator('list_images').paginate(repositoryName='team/app', PaginationConfig={'PageSize': 1}, **arguments)
    return sorted(i['imageDigest'] for page in pages for i in page['imageIds'])


active, archived = (other, 'ACTIVE'), (digest, 'ARCHIVED')
for arguments, want in [
    ({}, [active]),
    ({'filter': {'tagStatus': 'TAGGED'}}, [active]),
    ({'filter': {'imageStatus': 'ACTIVE'}}, [active]),
    ({'filter': {'imageStatus': 'ARCHIVED'}}, [archived]),
    ({'filter': {'imageStatus': 'ARCHIVED', 'tagStatus': 'UNTAGGED'}}, []),
    ({'filter': {'imageStatus': 'ACTIVATING'}}, []),
    ({'filter': {'imageStatus': 'ANY'}}, sorted([active, archived])),
    ({'filter': {'imageStatus': 'ANY', 'tagStatus': 'ANY'}}, sorted([active, archived])),
]:
    assert described(**arguments) == want, (arguments, described(**arguments))
    assert listed(**arguments) == [d for d, _ in want], (arguments, listed(**arguments))
detail = ecr.describe_images(repositoryName='team/app', imageIds=[by_tag])['imageDetails'][0]
assert isinstance(detail['lastArchivedAt'], datetime.datetime) and 'lastActivatedAt' not in detail, detail
message = refused('ImageNotFoundException', ecr.update_image_storage_class, repositoryName='team/app',
                  imageId={'imageTag': 'v2', 'imageDigest': digest}, targetStorageClass='STANDARD')
restored = ecr.update_image_storage_class(repositoryName='team/app', imageId={'imageTag': 'v1', 'imageDigest': digest}, targetStorageClass='STANDARD')
assert restored['imageStatus'] == 'ACTIVE', restored
assert ecr.batch_get_image(repositoryName='team/app', imageIds=[by_tag])['images'][0]['imageManifest'] == manifest
detail = ecr.describe_images(repositoryName='team/app', imageIds=[by_tag])['imageDetails'][0]
assert detail['lastActivatedAt'] >= detail['lastArchivedAt'] and detail['imageStatus'] == 'ACTIVE', detail
refused('ImageNotFoundException', ecr.update_image_storage_class, repositoryName='team/app', imageId={'imageTag': 'nope'}, targetStorageClass='ARCHIVE')
index = json.dumps({'schemaVersion': 2, 'mediaType': 'application/vnd.oci.image.index.v1+json', 'manifests': [
    {'mediaType': 'application/vnd.oci.image.manifest.v1+json', 'digest': digest, 'size': len(manifest)}]})
ecr.put_image(repositoryName='team/app', imageManifest=index, imageTag='index')
refused('ImageStorageClassUpdateNotSupportedException', ecr.update_image_storage_class, repositoryName='team/app',
        imageId={'imageDigest': digest}, targetStorageClass='ARCHIVE')

# Referrers.
referrers = {}
for n in range(3):
    d, m = put_image('team/app', f'referrer {n}', artifactType=f'application/vnd.example.{n}', subject={
        'mediaType': 'application/vnd.oci.image.manifest.v1+json', 'digest': digest, 'size': len(manifest)})
    referrers[d] = m
listed_referrers, token = [], {}
while True:
    page = ecr.list_image_referrers(repositoryName='team/app', subjectId={'imageDigest': digest}, maxResults=1, **token)
    listed_referrers += page['referrers']
    if 'nextToken' not in page:
        break
    token = {'nextToken': page['nextToken']}
assert [r['digest'] for r in listed_referrers] == sorted(referrers), listed_referrers
for r in listed_referrers:
    assert r['size'] == len(referrers[r['digest']]) and r['artifactStatus'] == 'ACTIVE', r
    assert r['annotations']['marker'].startswith('referrer '), r
got = ecr.list_image_referrers(repositoryName='team/app', subjectId={'imageDigest': digest},
                               filter={'artifactTypes': ['application/vnd.example.1']})['referrers']
assert [r['artifactType'] for r in got] == ['application/vnd.example.1'], got
ecr.update_image_storage_class(repositoryName='team/app', imageId={'imageDigest': got[0]['digest']}, targetStorageClass='ARCHIVE')
for status, want in [('ACTIVE', 2), ('ARCHIVED', 1), ('ANY', 3), ('ACTIVATING', 0)]:
    got = ecr.list_image_referrers(repositoryName='team/app', subjectId={'imageDigest': digest}, filter={'artifactStatus': status})['referrers']
    assert len(got) == want, (status, got)
refused('InvalidParameterException', ecr.list_image_referrers, repositoryName='team/app', subjectId={'imageDigest': 'x'})
refused('InvalidParameterException', ecr.list_image_referrers, repositoryName='team/app', subjectId={'imageDigest': digest}, nextToken='x')

# What no engine has done yet is said so, and not made up.
message = refused('ScanNotFoundException', ecr.describe_image_scan_findings, repositoryName='team/app', imageId=by_tag)
assert message.startswith(f"Image scan does not exist for the image with '{{imageDigest:'{digest}', imageTag:'v1'}}'"), message
refused('ImageNotFoundException', ecr.describe_image_scan_findings, repositoryName='team/app', imageId={'imageTag': 'nope'})
message = refused('UnsupportedOperationException', ecr.start_image_scan, repositoryName='team/app', imageId=by_tag)
assert 'ecr:StartImageScan' in message, message
assert ecr.describe_image_replication_status(repositoryName='team/app', imageId=by_tag)['replicationStatuses'] == []
assert ecr.describe_image_signing_status(repositoryName='team/app', imageId=by_tag)['signingStatuses'] == []
refused('ImageNotFoundException', ecr.describe_image_signing_status, repositoryName='team/app', imageId={'imageTag': 'nope'})
refused('InvalidParameterException', ecr.describe_image_replication_status, repositoryName='team/app', imageId={})

# Tags need what they are to be.
refused('InvalidTagParameterException', ecr.create_repository, repositoryName='team/tags', tags=[{'Key': 'aws:x', 'Value': 'y'}])
refused('InvalidTagParameterException', ecr.create_repository, repositoryName='team/tags', tags=[{'Key': 'a', 'Value': 'y'}] * 2)
refused('InvalidTagParameterException', ecr.create_repository, repositoryName='team/tags', tags=[{'Key': 'k' * 129, 'Value': ''}])
refused('TooManyTagsException', ecr.create_repository, repositoryName='team/tags', tags=[{'Key': str(n), 'Value': ''} for n in range(51)])

# Another account's repositories are neither there nor not there.
texts = {refused('AccessDeniedException', ecr.describe_images, repositoryName=name, registryId='444455556666').split(' because ')[0].replace(name, 'it')
         for name in ('theirs', 'none')}
assert len(texts) == 1, texts
ecr.delete_repository(repositoryName='team/app', force=True)
print('checked', len(shapes.calls), 'operations')
print('ok')
