"""What scripts do with boto3, against the server that the environment names: every operation that is served is called, and
every answer is of the model's shape. The arguments are a folder that secrets may refer to, and those operations. Prints "ok"
at the end."""

import base64
import json
import sys
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

sys.path.insert(0, '../ecr/testdata')
import shapes

folder, served = sys.argv[1], set(sys.argv[2:])
sm = shapes.watch(boto3.client('secretsmanager', config=Config(retries={'max_attempts': 1})))


def refused(code, call, **arguments):
    """Calls what must fail with the code, and returns the message."""
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response['Error']['Code'] == code, e
        assert e.response['ResponseMetadata']['RequestId'], e
        return e.response['Error']['Message']
    raise AssertionError(f'{call} was not refused')


def same(got, want):
    assert got == want, f'got {got!r}\nwant {want!r}'


# Create, read, describe.
made = sm.create_secret(Name='prod/db', Description='the database', KmsKeyId='alias/mine', SecretString='{"password":"one"}',
                        Tags=[{'Key': 'team', 'Value': 'a'}, {'Key': 'empty', 'Value': ''}])
arn, first = made['ARN'], made['VersionId']
same(made['Name'], 'prod/db')
got = sm.get_secret_value(SecretId='prod/db')
same((got['ARN'], got['VersionId'], got['VersionStages'], json.loads(got['SecretString'])), (arn, first, ['AWSCURRENT'], {'password': 'one'}))
assert got['CreatedDate'].year > 2000, got
described = sm.describe_secret(SecretId=arn[:-7])
same(described['Tags'], [{'Key': 'empty', 'Value': ''}, {'Key': 'team', 'Value': 'a'}])
same((described['KmsKeyId'], described['Description'], described['VersionIdsToStages']), ('alias/mine', 'the database', {first: ['AWSCURRENT']}))
assert 'DeletedDate' not in described and 'RotationEnabled' not in described, described
same(refused('ResourceExistsException', sm.create_secret, Name='prod/db'), 'The operation failed because the secret prod/db already exists.')

# New versions.
token = str(uuid.uuid4())
put = sm.put_secret_value(SecretId=arn, SecretBinary=b'\x00\xff', ClientRequestToken=token)
same((put['VersionId'], put['VersionStages']), (token, ['AWSCURRENT']))
same(sm.put_secret_value(SecretId=arn, SecretBinary=b'\x00\xff', ClientRequestToken=token)['VersionStages'], ['AWSCURRENT'])
refused('ResourceExistsException', sm.put_secret_value, SecretId=arn, SecretBinary=b'other', ClientRequestToken=token)
same(sm.get_secret_value(SecretId=arn)['SecretBinary'], b'\x00\xff')
same(json.loads(sm.get_secret_value(SecretId=arn, VersionStage='AWSPREVIOUS')['SecretString']), {'password': 'one'})
pending = sm.put_secret_value(SecretId=arn, SecretString='three', VersionStages=['AWSPENDING'])['VersionId']
sm.update_secret_version_stage(SecretId=arn, VersionStage='AWSCURRENT', MoveToVersionId=pending, RemoveFromVersionId=token)
same(sm.get_secret_value(SecretId=arn)['SecretString'], 'three')
same(sm.describe_secret(SecretId=arn)['VersionIdsToStages'], {token: ['AWSPREVIOUS'], pending: ['AWSCURRENT', 'AWSPENDING']})
updated = sm.update_secret(SecretId=arn, Description='', SecretString='four')
assert updated['VersionId'] and 'Description' not in sm.describe_secret(SecretId=arn), updated
versions = sm.list_secret_version_ids(SecretId=arn, IncludeDeprecated=True, MaxResults=3)
rest = sm.list_secret_version_ids(SecretId=arn, IncludeDeprecated=True, NextToken=versions['NextToken'])
same([v['VersionId'] for v in versions['Versions'] + rest['Versions']], [updated['VersionId'], pending, token, first])
same([v['VersionStages'] for v in rest['Versions']], [[]])

# Lists.
for i in range(5):
    sm.create_secret(Name=f'list/{i}', SecretString=f'value {i}', Tags=[{'Key': 'n', 'Value': str(i)}])
pages = sm.get_paginator('list_secrets').paginate(Filters=[{'Key': 'name', 'Values': ['list/']}], PaginationConfig={'PageSize': 2})
same([s['Name'] for page in pages for s in page['SecretList']], [f'list/{i}' for i in range(5)])
pages = sm.get_paginator('list_secrets').paginate(SortOrder='desc', SortBy='name', PaginationConfig={'PageSize': 2})
same([s['Name'] for page in pages for s in page['SecretList']], ['prod/db'] + [f'list/{i}' for i in (4, 3, 2, 1, 0)])
batch = sm.batch_get_secret_value(Filters=[{'Key': 'tag-value', 'Values': ['1', '3']}])
same([v['SecretString'] for v in batch['SecretValues']], ['value 1', 'value 3'])
batch = sm.batch_get_secret_value(SecretIdList=['list/0', 'nope', arn])
same([v['SecretString'] for v in batch['SecretValues']], ['value 0', 'four'])
same(batch['Errors'], [{'SecretId': 'nope', 'ErrorCode': 'ResourceNotFoundException', 'Message': "Secrets Manager can't find the specified secret."}])

# Tags and policies.
sm.tag_resource(SecretId='prod/db', Tags=[{'Key': 'team', 'Value': 'b'}])
sm.untag_resource(SecretId=arn, TagKeys=['empty', 'never'])
same(sm.describe_secret(SecretId=arn)['Tags'], [{'Key': 'team', 'Value': 'b'}])
policy = json.dumps({'Version': '2012-10-17', 'Statement': [
    {'Effect': 'Allow', 'Principal': {'AWS': '444455556666'}, 'Action': 'secretsmanager:GetSecretValue', 'Resource': '*'}]})
sm.put_resource_policy(SecretId=arn, ResourcePolicy=policy, BlockPublicPolicy=True)
same(sm.get_resource_policy(SecretId=arn)['ResourcePolicy'], policy)
same(sm.validate_resource_policy(SecretId=arn, ResourcePolicy=policy)['PolicyValidationPassed'], True)
public = json.dumps({'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Principal': '*', 'Action': 'secretsmanager:*', 'Resource': '*'}]})
checked = sm.validate_resource_policy(ResourcePolicy=public)
same((checked['PolicyValidationPassed'], [e['CheckName'] for e in checked['ValidationErrors']]), (False, ['PUBLIC_POLICY']))
refused('PublicPolicyException', sm.put_resource_policy, SecretId=arn, ResourcePolicy=public, BlockPublicPolicy=True)
sm.delete_resource_policy(SecretId=arn)
assert 'ResourcePolicy' not in sm.get_resource_policy(SecretId=arn)

# Passwords.
password = sm.get_random_password(PasswordLength=50, ExcludePunctuation=True)['RandomPassword']
assert len(password) == 50 and password.isalnum(), password

# A value that is elsewhere.
sm.create_secret(Name='elsewhere', SecretString=json.dumps({'sekisho:ref': f'file:{folder}/password'}))
same(sm.get_secret_value(SecretId='elsewhere')['SecretString'], 'from a file')
message = refused('InvalidParameterException', sm.put_secret_value, SecretId='elsewhere', SecretString=json.dumps({'sekisho:ref': 'file:/etc/passwd'}))
assert 'file:/etc/passwd' in message, message

# Deletion.
deleted = sm.delete_secret(SecretId=arn, RecoveryWindowInDays=7)
assert deleted['ARN'] == arn and deleted['DeletionDate'] > described['CreatedDate'], deleted
assert sm.describe_secret(SecretId=arn)['DeletedDate'] < deleted['DeletionDate']
message = refused('InvalidRequestException', sm.get_secret_value, SecretId=arn)
same(message, "You can't perform this operation on the secret because it was marked for deletion.")
refused('InvalidRequestException', sm.create_secret, Name='prod/db')
assert 'prod/db' not in [s['Name'] for s in sm.list_secrets()['SecretList']]
assert 'prod/db' in [s['Name'] for s in sm.list_secrets(IncludePlannedDeletion=True)['SecretList']]
sm.restore_secret(SecretId=arn)
same(sm.get_secret_value(SecretId=arn)['SecretString'], 'four')
sm.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
refused('ResourceNotFoundException', sm.describe_secret, SecretId=arn)
sm.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)

# Refused by name.
for name, arguments in {
        'rotate_secret': {}, 'cancel_rotate_secret': {}, 'stop_replication_to_replica': {},
        'replicate_secret_to_regions': {'AddReplicaRegions': [{'Region': 'us-east-2'}]},
        'remove_regions_from_replication': {'RemoveReplicaRegions': ['us-east-2']}}.items():
    message = refused('UnsupportedOperationException', getattr(sm, name), SecretId='list/0', **arguments)
    assert message.startswith('The operation secretsmanager:'), message

same(served - shapes.calls, set())
print('ok')
