"""What scripts do with boto3, against the server that the environment names. Prints "ok" at the end."""

import base64
import hashlib
import json
import os
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import shapes

ecr = shapes.watch(boto3.client('ecr', config=Config(retries={'max_attempts': 1})))


def refused(code, call, **arguments):
    """Calls what must fail with the code, and returns the message."""
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response['Error']['Code'] == code, e
        metadata = e.response['ResponseMetadata']
        assert metadata['RequestId'], metadata
        assert getattr(ecr.exceptions, code, ClientError), code
        return e.response['Error']['Message']
    raise AssertionError(f'{call} was not refused')


def put_layer(repository, data):
    upload = ecr.initiate_layer_upload(repositoryName=repository)
    step = upload['partSize']
    for first in range(0, len(data), step):
        part = data[first:first + step]
        got = ecr.upload_layer_part(
            repositoryName=repository, uploadId=upload['uploadId'],
            partFirstByte=first, partLastByte=first + len(part) - 1, layerPartBlob=part)
        assert got['lastByteReceived'] == first + len(part) - 1, got
    digest = 'sha256:' + hashlib.sha256(data).hexdigest()
    done = ecr.complete_layer_upload(
        repositoryName=repository, uploadId=upload['uploadId'], layerDigests=[digest])
    assert done['layerDigest'] == digest, done
    return digest


# Who am I: the Query protocol.
identity = boto3.client('sts').get_caller_identity()
account = identity['Account']
assert identity['Arn'] == f'arn:aws:iam::{account}:root', identity

# A repository.
repository = ecr.create_repository(
    repositoryName='team/app', tags=[{'Key': 'owner', 'Value': 'me'}])['repository']
assert repository['repositoryArn'].endswith(f':{account}:repository/team/app'), repository
assert repository['createdAt'].year > 2000, repository
assert repository['imageScanningConfiguration'] == {'scanOnPush': False}, repository
assert repository['encryptionConfiguration'] == {'encryptionType': 'AES256'}, repository
message = refused('RepositoryAlreadyExistsException', ecr.create_repository, repositoryName='team/app')
assert message == f"The repository with name 'team/app' already exists in the registry with id '{account}'", message
assert ecr.describe_registry()['registryId'] == account
tags = ecr.list_tags_for_resource(resourceArn=repository['repositoryArn'])['tags']
assert tags == [{'Key': 'owner', 'Value': 'me'}], tags

# An image whose layer takes more than one part.
layer = os.urandom(11 << 20)
config = json.dumps({'architecture': 'amd64', 'os': 'linux'}).encode()
digests = [put_layer('team/app', config), put_layer('team/app', layer)]
available = ecr.batch_check_layer_availability(repositoryName='team/app', layerDigests=digests)
assert [l['layerAvailability'] for l in available['layers']] == ['AVAILABLE'] * 2, available
assert [l['layerSize'] for l in available['layers']] == [len(config), len(layer)], available
# With a name that JSON must escape, so that bytes are kept as they are.
manifest = json.dumps({
    'schemaVersion': 2,
    'mediaType': 'application/vnd.oci.image.manifest.v1+json',
    'config': {'mediaType': 'application/vnd.oci.image.config.v1+json', 'digest': digests[0], 'size': len(config)},
    'layers': [{'mediaType': 'application/vnd.oci.image.layer.v1.tar', 'digest': digests[1], 'size': len(layer)}],
    'annotations': {'title': 'caf\u00e9 \U0001f600 <&> \u2028'},
}, indent=3, ensure_ascii=False)
image = ecr.put_image(repositoryName='team/app', imageManifest=manifest, imageTag='v1')['image']
digest = 'sha256:' + hashlib.sha256(manifest.encode()).hexdigest()
assert image['imageId'] == {'imageDigest': digest, 'imageTag': 'v1'}, image

# A retag, as people script it.
got = ecr.batch_get_image(repositoryName='team/app', imageIds=[{'imageTag': 'v1'}, {'imageTag': 'nope'}])
assert got['images'][0]['imageManifest'] == manifest, got
assert got['failures'][0]['failureCode'] == 'ImageNotFound', got
again = ecr.put_image(
    repositoryName='team/app', imageTag='released', imageManifest=got['images'][0]['imageManifest'],
    imageManifestMediaType=got['images'][0]['imageManifestMediaType'])['image']
assert again['imageId']['imageDigest'] == digest, again

# Lists, with paginators.
details = ecr.describe_images(repositoryName='team/app')['imageDetails']
assert len(details) == 1 and details[0]['imageTags'] == ['released', 'v1'], details
assert details[0]['imageSizeInBytes'] == len(config) + len(layer), details
for i in range(5):
    ecr.put_image(repositoryName='team/app', imageManifest=manifest, imageTag=f'x{i}')
    ecr.create_repository(repositoryName=f'team/other{i}')
pages = ecr.get_paginator('list_images').paginate(repositoryName='team/app', PaginationConfig={'PageSize': 2})
listed = [i['imageTag'] for page in pages for i in page['imageIds']]
assert listed == ['released', 'v1', 'x0', 'x1', 'x2', 'x3', 'x4'], listed
pages = ecr.get_paginator('describe_repositories').paginate(PaginationConfig={'PageSize': 2})
listed = [r['repositoryName'] for page in pages for r in page['repositories']]
assert listed == ['team/app'] + [f'team/other{i}' for i in range(5)], listed

# Pull: a link that needs no credential, and the token that docker uses.
url = ecr.get_download_url_for_layer(repositoryName='team/app', layerDigest=digests[1])['downloadUrl']
assert urllib.request.urlopen(url).read() == layer
data = ecr.get_authorization_token()['authorizationData'][0]
assert base64.b64decode(data['authorizationToken']).startswith(b'AWS:'), data
request = urllib.request.Request(
    data['proxyEndpoint'] + '/v2/team/app/manifests/v1', headers={'Authorization': 'Basic ' + data['authorizationToken']})
assert urllib.request.urlopen(request).read() == manifest.encode()

# Refusals.
refused('RepositoryNotFoundException', ecr.describe_images, repositoryName='nope')
refused('ImageNotFoundException', ecr.describe_images, repositoryName='team/app', imageIds=[{'imageTag': 'nope'}])
refused('RepositoryNotEmptyException', ecr.delete_repository, repositoryName='team/app')
refused('InvalidParameterException', ecr.describe_images, repositoryName='NOPE')
refused('LayersNotFoundException', ecr.get_download_url_for_layer, repositoryName='team/app', layerDigest='sha256:' + '0' * 64)
refused('UploadNotFoundException', ecr.complete_layer_upload, repositoryName='team/app',
        uploadId='0' * 8 + '-0000-0000-0000-' + '0' * 12, layerDigests=[digest])
refused('UnsupportedOperationException', ecr.start_lifecycle_policy_preview, repositoryName='team/app')
message = refused('AccessDeniedException', ecr.describe_images, repositoryName='team/app', registryId='999999999999')
assert message.startswith(f'User: arn:aws:iam::{account}:root is not authorized to perform: ecr:DescribeImages on resource: '), message
stranger = boto3.client('ecr', aws_access_key_id='AKIAIOSFODNN7EXAMPLE', aws_secret_access_key='x')
refused('InvalidSignatureException', stranger.describe_repositories)
wrong = boto3.client('ecr', aws_secret_access_key='x', aws_access_key_id=os.environ['AWS_ACCESS_KEY_ID'])
message = refused('InvalidSignatureException', wrong.describe_repositories)
assert message.startswith('The request signature we calculated does not match the signature you provided.'), message
elsewhere = boto3.client('ecr', region_name='ap-northeast-1')
refused('InvalidSignatureException', elsewhere.describe_repositories)
refused('SignatureDoesNotMatch', boto3.client('sts', aws_access_key_id='AKIAIOSFODNN7EXAMPLE', aws_secret_access_key='x').get_caller_identity)

# Deletion.
deleted = ecr.batch_delete_image(repositoryName='team/app', imageIds=[{'imageTag': 'x0'}, {'imageTag': 'nope'}])
assert deleted['imageIds'] == [{'imageDigest': digest, 'imageTag': 'x0'}], deleted
assert deleted['failures'][0]['failureCode'] == 'ImageNotFound', deleted
ecr.untag_resource(resourceArn=repository['repositoryArn'], tagKeys=['owner'])
assert ecr.list_tags_for_resource(resourceArn=repository['repositoryArn'])['tags'] == []
ecr.delete_repository(repositoryName='team/app', force=True)
print('ok')
