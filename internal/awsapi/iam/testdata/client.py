"""What scripts do with boto3, against the server that the environment names: every operation that is served, which are the
arguments, is called, and every answer is of the model's shape. Prints "ok" at the end."""

import json
import sys
from datetime import datetime, timezone
from urllib.parse import unquote

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import shapes

config = Config(retries={'max_attempts': 1})
iam = boto3.client('iam', config=config)
shapes.watch(iam)
account = iam.get_user()['User']['UserId']


def refused(code, call, status=None, **arguments):
    """Calls what must fail with the code, and returns the message."""
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response['Error']['Code'] == code, e
        metadata = e.response['ResponseMetadata']
        assert metadata['RequestId'], metadata
        assert status is None or metadata['HTTPStatusCode'] == status, metadata
        return e.response['Error']['Message']
    raise AssertionError(f'{call} was not refused')


def same(got, want):
    assert got == want, f'got {got!r}\nwant {want!r}'


def pages(operation, key, **arguments):
    """All items of a list, two at a time."""
    paginator = iam.get_paginator(operation)
    return [x for page in paginator.paginate(PaginationConfig={'PageSize': 2}, **arguments) for x in page[key]]


def policy(*actions, effect='Allow', resource='*', **more):
    return json.dumps({'Version': '2012-10-17', 'Statement': [{'Effect': effect, 'Action': list(actions), 'Resource': resource, **more}]})


trust = json.dumps({'Version': '2012-10-17', 'Statement': [
    {'Effect': 'Allow', 'Principal': {'AWS': f'arn:aws:iam::{account}:root'}, 'Action': 'sts:AssumeRole'}]})
odd = '{"Version": "2012-10-17",\n "Statement": [{"Sid": "A1", "Effect": "Allow", "Action": "ecr:*", "Resource": "arn:aws:ecr:*:*:repository/a+b%20*"}]}'

# Users.
user = iam.create_user(UserName='ann', Path='/team/', Tags=[{'Key': 'Owner', 'Value': 'me + you'}, {'Key': 'b', 'Value': ''}])['User']
same(user['Arn'], f'arn:aws:iam::{account}:user/team/ann')
assert user['UserId'].startswith('AIDA') and len(user['UserId']) == 21, user
assert abs((datetime.now(timezone.utc) - user['CreateDate']).total_seconds()) < 60, user
same(user['Tags'], [{'Key': 'b', 'Value': ''}, {'Key': 'Owner', 'Value': 'me + you'}])
same(iam.get_user(UserName='ann')['User'], user)
same(refused('EntityAlreadyExists', iam.create_user, 409, UserName='ANN'), 'User with name ANN already exists.')
same(refused('NoSuchEntity', iam.get_user, 404, UserName='bob'), 'The user with name bob cannot be found.')
message = refused('ValidationError', iam.create_user, 400, UserName='a/b', Path='x')
assert message.startswith("2 validation errors detected: "), message
assert r"Value 'a/b' at 'userName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]+" in message, message
for name in ('Carl', 'bob', 'dora', 'emil'):
    iam.create_user(UserName=name)
same([u['UserName'] for u in pages('list_users', 'Users')], ['ann', 'bob', 'Carl', 'dora', 'emil'])
same([u['UserName'] for u in pages('list_users', 'Users', PathPrefix='/team/')], ['ann'])
same(refused('ValidationError', iam.list_users, 400, Marker='no marker'), 'Invalid Marker.')
same(iam.list_users(PathPrefix='/none/')['Users'], [])
iam.update_user(UserName='bob', NewUserName='bobby', NewPath='/x/y/')
same(iam.get_user(UserName='bobby')['User']['Arn'], f'arn:aws:iam::{account}:user/x/y/bobby')
root = iam.get_user()['User']
same((root['Arn'], root['UserId']), (f'arn:aws:iam::{account}:root', account))

iam.tag_user(UserName='ann', Tags=[{'Key': 'owner', 'Value': 'she'}, {'Key': 'c', 'Value': '3'}])
same([t['Key'] for t in pages('list_user_tags', 'Tags', UserName='ann')], ['b', 'c', 'owner'])
iam.untag_user(UserName='ann', TagKeys=['b', 'c'])
same(iam.list_user_tags(UserName='ann')['Tags'], [{'Key': 'owner', 'Value': 'she'}])

# Policies.
made = iam.create_policy(PolicyName='pull', Path='/ecr/', PolicyDocument=odd, Description='what it is', Tags=[{'Key': 'k', 'Value': 'v'}])['Policy']
arn = made['Arn']
same(arn, f'arn:aws:iam::{account}:policy/ecr/pull')
got = iam.get_policy(PolicyArn=arn)['Policy']
same((got['Description'], got['DefaultVersionId'], got['AttachmentCount'], got['IsAttachable']), ('what it is', 'v1', 0, True))
version = iam.get_policy_version(PolicyArn=arn, VersionId='v1')['PolicyVersion']
same(version['Document'], json.loads(odd))
for n in range(2, 6):
    v = iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy(f'ecr:Get{n}'), SetAsDefault=n == 3)['PolicyVersion']
    same((v['VersionId'], v['IsDefaultVersion']), (f'v{n}', n == 3))
message = refused('LimitExceeded', iam.create_policy_version, 409, PolicyArn=arn, PolicyDocument=odd)
same([(v['VersionId'], v['IsDefaultVersion']) for v in pages('list_policy_versions', 'Versions', PolicyArn=arn)],
     [(f'v{n}', n == 3) for n in (5, 4, 3, 2, 1)])
iam.set_default_policy_version(PolicyArn=arn, VersionId='v1')
refused('DeleteConflict', iam.delete_policy_version, 409, PolicyArn=arn, VersionId='v1')
for n in range(2, 6):
    iam.delete_policy_version(PolicyArn=arn, VersionId=f'v{n}')
refused('NoSuchEntity', iam.get_policy_version, 404, PolicyArn=arn, VersionId='v2')
message = refused('MalformedPolicyDocument', iam.create_policy, 400, PolicyName='bad', PolicyDocument='{"Version":"2012-10-17","Statement":[{"Effekt":"Allow"}]}')
refused('NoSuchEntity', iam.get_policy, 404, PolicyArn=f'arn:aws:iam::{account}:policy/none')
iam.tag_policy(PolicyArn=arn, Tags=[{'Key': 'x', 'Value': 'y'}])
iam.untag_policy(PolicyArn=arn, TagKeys=['k'])
same(pages('list_policy_tags', 'Tags', PolicyArn=arn), [{'Key': 'x', 'Value': 'y'}])
same([p['PolicyName'] for p in pages('list_policies', 'Policies', Scope='Local')], ['pull'])
builtin = 'arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly'
names = {p['PolicyName'] for p in pages('list_policies', 'Policies', Scope='AWS')}
assert {'AmazonEC2ContainerRegistryReadOnly', 'AmazonEC2ContainerRegistryPowerUser', 'AmazonEC2ContainerRegistryFullAccess',
        'AmazonEC2ContainerRegistryPullOnly', 'AmazonECSTaskExecutionRolePolicy'} <= names, names
default = iam.get_policy(PolicyArn=builtin)['Policy']['DefaultVersionId']
assert iam.get_policy_version(PolicyArn=builtin, VersionId=default)['PolicyVersion']['Document']['Statement'], default
same(len(pages('list_policies', 'Policies')), len(names) + 1)

# Groups.
group = iam.create_group(GroupName='team', Path='/g/')['Group']
same(group['Arn'], f'arn:aws:iam::{account}:group/g/team')
iam.create_group(GroupName='old')
iam.update_group(GroupName='old', NewGroupName='new')
same([g['GroupName'] for g in pages('list_groups', 'Groups')], ['new', 'team'])
for name in ('ann', 'bobby', 'Carl'):
    iam.add_user_to_group(GroupName='team', UserName=name)
same([u['UserName'] for u in pages('get_group', 'Users', GroupName='team')], ['ann', 'bobby', 'Carl'])
same([g['GroupName'] for g in pages('list_groups_for_user', 'Groups', UserName='ann')], ['team'])
iam.remove_user_from_group(GroupName='team', UserName='bobby')
iam.remove_user_from_group(GroupName='team', UserName='Carl')
refused('NoSuchEntity', iam.add_user_to_group, 404, GroupName='none', UserName='ann')
refused('DeleteConflict', iam.delete_group, 409, GroupName='team')

# Roles.
role = iam.create_role(RoleName='deploy', Path='/r/', AssumeRolePolicyDocument=trust, Description='d', MaxSessionDuration=7200,
                       PermissionsBoundary=arn, Tags=[{'Key': 'k', 'Value': 'v'}])['Role']
same(role['Arn'], f'arn:aws:iam::{account}:role/r/deploy')
got = iam.get_role(RoleName='deploy')['Role']
same(got['AssumeRolePolicyDocument'], json.loads(trust))
same((got['MaxSessionDuration'], got['Description'], got['RoleLastUsed']), (7200, 'd', {}))
same(got['PermissionsBoundary'], {'PermissionsBoundaryType': 'PermissionsBoundaryPolicy', 'PermissionsBoundaryArn': arn})
same(iam.update_role(RoleName='deploy', MaxSessionDuration=3600, Description='e')['ResponseMetadata']['HTTPStatusCode'], 200)
same(iam.update_role_description(RoleName='deploy', Description='f')['Role']['Description'], 'f')
iam.update_assume_role_policy(RoleName='deploy', PolicyDocument=trust.replace(':root', ':user/team/ann'))
same(iam.get_role(RoleName='deploy')['Role']['AssumeRolePolicyDocument']['Statement'][0]['Principal'], {'AWS': user['Arn']})
refused('MalformedPolicyDocument', iam.update_assume_role_policy, 400, RoleName='deploy', PolicyDocument=policy('ecr:*'))
iam.create_role(RoleName='other', AssumeRolePolicyDocument=trust)
same([r['RoleName'] for r in pages('list_roles', 'Roles')], ['deploy', 'other'])
iam.delete_role_permissions_boundary(RoleName='deploy')
assert 'PermissionsBoundary' not in iam.get_role(RoleName='deploy')['Role']
iam.put_role_permissions_boundary(RoleName='deploy', PermissionsBoundary=arn)
iam.put_user_permissions_boundary(UserName='bobby', PermissionsBoundary=arn)
same(iam.get_user(UserName='bobby')['User']['PermissionsBoundary']['PermissionsBoundaryArn'], arn)
iam.tag_role(RoleName='deploy', Tags=[{'Key': 'x', 'Value': 'y'}])
iam.untag_role(RoleName='deploy', TagKeys=['k'])
same(pages('list_role_tags', 'Tags', RoleName='deploy'), [{'Key': 'x', 'Value': 'y'}])

# What they may.
for kind, name in (('user', 'ann'), ('group', 'team'), ('role', 'deploy')):
    who = {f'{kind.capitalize()}Name': name}

    def call(verb, noun, **arguments):
        return getattr(iam, f'{verb}_{kind}_{noun}')(**who, **arguments)

    for n in 'cab':
        call('put', 'policy', PolicyName=n, PolicyDocument=policy(f'ecr:Get{n}'))
    got = call('get', 'policy', PolicyName='a')
    same((got['PolicyName'], got[f'{kind.capitalize()}Name'], got['PolicyDocument']), ('a', name, json.loads(policy('ecr:Geta'))))
    same(pages(f'list_{kind}_policies', 'PolicyNames', **who), ['a', 'b', 'c'])
    for n in 'bc':
        call('delete', 'policy', PolicyName=n)
    same(refused('NoSuchEntity', getattr(iam, f'get_{kind}_policy'), 404, PolicyName='b', **who), f'The {kind} policy with name b cannot be found.')
    call('attach', 'policy', PolicyArn=arn)
    call('attach', 'policy', PolicyArn=builtin)
    attached = pages(f'list_attached_{kind}_policies', 'AttachedPolicies', **who)
    same(sorted(p['PolicyArn'] for p in attached), sorted([arn, builtin]))
    call('detach', 'policy', PolicyArn=builtin)
    refused('NoSuchEntity', getattr(iam, f'detach_{kind}_policy'), 404, PolicyArn=builtin, **who)
same(iam.get_policy(PolicyArn=arn)['Policy']['AttachmentCount'], 3)
same(iam.get_policy(PolicyArn=arn)['Policy']['PermissionsBoundaryUsageCount'], 2)
entities = iam.list_entities_for_policy(PolicyArn=arn, PolicyUsageFilter='PermissionsPolicy')
same([x['UserName'] for x in entities['PolicyUsers']], ['ann'])
same([x['GroupName'] for x in entities['PolicyGroups']], ['team'])
same([x['RoleName'] for x in entities['PolicyRoles']], ['deploy'])
same(len(pages('list_entities_for_policy', 'PolicyUsers', PolicyArn=arn)), 2)
same(iam.list_entities_for_policy(PolicyArn=arn, EntityFilter='Role')['PolicyUsers'], [])
refused('DeleteConflict', iam.delete_policy, 409, PolicyArn=arn)
refused('DeleteConflict', iam.delete_user, 409, UserName='ann')
refused('DeleteConflict', iam.delete_role, 409, RoleName='deploy')

# Access keys.
key = iam.create_access_key(UserName='ann')['AccessKey']
assert key['AccessKeyId'].startswith('AKIA') and len(key['SecretAccessKey']) == 40, key['AccessKeyId']
same((key['UserName'], key['Status']), ('ann', 'Active'))
second = iam.create_access_key(UserName='ann')['AccessKey']['AccessKeyId']
message = refused('LimitExceeded', iam.create_access_key, 409, UserName='ann')
same(message, 'Cannot exceed quota for AccessKeysPerUser: 2')
iam.update_access_key(UserName='ann', AccessKeyId=second, Status='Inactive')
keys = pages('list_access_keys', 'AccessKeyMetadata', UserName='ann')
same({k['AccessKeyId']: k['Status'] for k in keys}, {key['AccessKeyId']: 'Active', second: 'Inactive'})
same(iam.get_access_key_last_used(AccessKeyId=second)['AccessKeyLastUsed'], {'ServiceName': 'N/A', 'Region': 'N/A'})
iam.delete_access_key(UserName='ann', AccessKeyId=second)
same(refused('NoSuchEntity', iam.delete_access_key, 404, UserName='ann', AccessKeyId=second), f'The Access Key with id {second} cannot be found.')
iam.update_access_key(UserName='ann', AccessKeyId=key['AccessKeyId'], Status='Inactive')

# OIDC providers.
provider = iam.create_open_id_connect_provider(
    Url='https://token.example.com/a', ClientIDList=['sts.amazonaws.com'], ThumbprintList=['a' * 40], Tags=[{'Key': 'k', 'Value': 'v'}])
same(provider['Tags'], [{'Key': 'k', 'Value': 'v'}])
provider = provider['OpenIDConnectProviderArn']
same(provider, f'arn:aws:iam::{account}:oidc-provider/token.example.com/a')
iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=provider, ClientID='two')
iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=provider, ClientID='sts.amazonaws.com')
iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=provider, ThumbprintList=['b' * 40])
got = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider)
same((got['Url'], got['ClientIDList'], got['ThumbprintList']), ('token.example.com/a', ['two'], ['b' * 40]))
same(iam.list_open_id_connect_providers()['OpenIDConnectProviderList'], [{'Arn': provider}])
iam.tag_open_id_connect_provider(OpenIDConnectProviderArn=provider, Tags=[{'Key': 'x', 'Value': 'y'}])
iam.untag_open_id_connect_provider(OpenIDConnectProviderArn=provider, TagKeys=['k'])
same(pages('list_open_id_connect_provider_tags', 'Tags', OpenIDConnectProviderArn=provider)
     if iam.can_paginate('list_open_id_connect_provider_tags') else iam.list_open_id_connect_provider_tags(OpenIDConnectProviderArn=provider)['Tags'],
     [{'Key': 'x', 'Value': 'y'}])
refused('EntityAlreadyExists', iam.create_open_id_connect_provider, 409, Url='https://token.example.com/a')
refused('ValidationError', iam.create_open_id_connect_provider, 400, Url='http://token.example.com')

# Instance profiles.
profile = iam.create_instance_profile(InstanceProfileName='host', Path='/p/', Tags=[{'Key': 'k', 'Value': 'v'}])['InstanceProfile']
same((profile['Arn'], profile['Roles']), (f'arn:aws:iam::{account}:instance-profile/p/host', []))
iam.add_role_to_instance_profile(InstanceProfileName='host', RoleName='deploy')
refused('LimitExceeded', iam.add_role_to_instance_profile, 409, InstanceProfileName='host', RoleName='other')
got = iam.get_instance_profile(InstanceProfileName='host')['InstanceProfile']
same([r['RoleName'] for r in got['Roles']], ['deploy'])
same([p['InstanceProfileName'] for p in pages('list_instance_profiles', 'InstanceProfiles')], ['host'])
same([p['InstanceProfileName'] for p in pages('list_instance_profiles_for_role', 'InstanceProfiles', RoleName='deploy')], ['host'])
iam.tag_instance_profile(InstanceProfileName='host', Tags=[{'Key': 'x', 'Value': 'y'}])
iam.untag_instance_profile(InstanceProfileName='host', TagKeys=['k'])
same(iam.list_instance_profile_tags(InstanceProfileName='host')['Tags'], [{'Key': 'x', 'Value': 'y'}])
refused('DeleteConflict', iam.delete_instance_profile, 409, InstanceProfileName='host')
refused('NoSuchEntity', iam.get_instance_profile, 404, InstanceProfileName='none')

# The account.
same(iam.list_account_aliases()['AccountAliases'], [])
iam.create_account_alias(AccountAlias='my-team')
same(iam.list_account_aliases()['AccountAliases'], ['my-team'])
iam.delete_account_alias(AccountAlias='my-team')
refused('NoSuchEntity', iam.delete_account_alias, 404, AccountAlias='my-team')
summary = iam.get_account_summary()['SummaryMap']
same((summary['Users'], summary['Groups'], summary['Roles'], summary['Policies']), (5, 2, 2, 1))
paginator = iam.get_paginator('get_account_authorization_details')
details = paginator.paginate(PaginationConfig={'PageSize': 2}).build_full_result()
same([u['UserName'] for u in details['UserDetailList']], ['ann', 'bobby', 'Carl', 'dora', 'emil'])
ann = details['UserDetailList'][0]
same(ann['GroupList'], ['team'])
same([p['PolicyName'] for p in ann['UserPolicyList']], ['a'])
same(ann['UserPolicyList'][0]['PolicyDocument'], json.loads(policy('ecr:Geta')))
same([p['PolicyArn'] for p in ann['AttachedManagedPolicies']], [arn])
same([g['GroupName'] for g in details['GroupDetailList']], ['new', 'team'])
deploy = details['RoleDetailList'][0]
same([p['InstanceProfileName'] for p in deploy['InstanceProfileList']], ['host'])
same(deploy['AssumeRolePolicyDocument']['Statement'][0]['Principal'], {'AWS': user['Arn']})
local = [p for p in details['Policies'] if p['Arn'] == arn]
same(local[0]['PolicyVersionList'][0]['Document'], json.loads(odd))
same(list(iam.get_account_authorization_details(Filter=['Group']).get('UserDetailList', [])), [])

# What nobody has.
same(iam.list_mfa_devices(UserName='ann')['MFADevices'], [])
same(iam.list_mfa_devices()['MFADevices'], [])
same(iam.list_virtual_mfa_devices()['VirtualMFADevices'], [])
same(iam.list_ssh_public_keys(UserName='ann')['SSHPublicKeys'], [])
same(iam.list_signing_certificates(UserName='ann')['Certificates'], [])
same(iam.list_service_specific_credentials(UserName='ann')['ServiceSpecificCredentials'], [])
same(iam.list_saml_providers()['SAMLProviderList'], [])
same(iam.list_server_certificates()['ServerCertificateMetadataList'], [])
same(refused('NoSuchEntity', iam.get_login_profile, 404, UserName='ann'), 'Login Profile for User ann cannot be found.')
refused('NoSuchEntity', iam.delete_login_profile, 404, UserName='ann')
refused('NoSuchEntity', iam.get_account_password_policy, 404)
refused('NoSuchEntity', iam.list_mfa_devices, 404, UserName='nobody')
message = refused('UnsupportedOperation', iam.create_login_profile, 400, UserName='ann', Password='secret')
same(message, 'The operation iam:CreateLoginProfile is not supported by this server. There are no passwords: users have access keys.')

# Simulation.
repository = f'arn:aws:ecr:eu-west-1:{account}:repository/app'
result = iam.simulate_custom_policy(
    PolicyInputList=[policy('ecr:Put*', Condition={'StringEquals': {'aws:SourceVpce': 'vpce-1'}}), policy('ecr:Put*', effect='Deny', resource=repository + '/x')],
    ActionNames=['ecr:PutImage', 'ecr:GetX'], ResourceArns=[repository, repository + '/x'],
    ContextEntries=[{'ContextKeyName': 'aws:SourceVpce', 'ContextKeyType': 'string', 'ContextKeyValues': ['vpce-1']}])
same([(r['EvalActionName'], r['EvalResourceName'], r['EvalDecision']) for r in result['EvaluationResults']], [
    ('ecr:PutImage', repository, 'allowed'), ('ecr:PutImage', repository + '/x', 'explicitDeny'),
    ('ecr:GetX', repository, 'implicitDeny'), ('ecr:GetX', repository + '/x', 'implicitDeny')])
allowed, denied = result['EvaluationResults'][:2]
same([s['SourcePolicyId'] for s in allowed['MatchedStatements']], ['PolicyInputList.1'])
same([s['SourcePolicyId'] for s in denied['MatchedStatements']], ['PolicyInputList.2'])
same(allowed['MatchedStatements'][0]['StartPosition'], {'Line': 1, 'Column': 41})
same((allowed['MissingContextValues'], allowed['ResourceSpecificResults'][0]['EvalResourceDecision']), ([], 'allowed'))
result = iam.simulate_custom_policy(PolicyInputList=[policy('ecr:Put*', Condition={'StringEquals': {'aws:SourceVpce': 'vpce-1'}})], ActionNames=['ecr:PutImage'])
same((result['EvaluationResults'][0]['EvalDecision'], result['EvaluationResults'][0]['MissingContextValues']), ('implicitDeny', ['aws:SourceVpce']))
result = iam.simulate_custom_policy(
    PolicyInputList=[policy('*')], PermissionsBoundaryPolicyInputList=[policy('ecr:*')], ActionNames=['iam:GetUser'])['EvaluationResults'][0]
same((result['EvalDecision'], result['PermissionsBoundaryDecisionDetail']), ('implicitDeny', {'AllowedByPermissionsBoundary': False}))
shared = json.dumps({'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Principal': {'AWS': user['Arn']}, 'Action': 'ecr:PutImage'}]})
for owner, want in ((account, 'allowed'), ('999988887777', 'implicitDeny')):
    result = iam.simulate_custom_policy(
        PolicyInputList=[policy('ecr:Get*')], ResourcePolicy=shared, CallerArn=user['Arn'], ResourceOwner=f'arn:aws:iam::{owner}:root',
        ActionNames=['ecr:PutImage'], ResourceArns=[f'arn:aws:ecr:eu-west-1:{owner}:repository/app'])['EvaluationResults'][0]
    same(result['EvalDecision'], want)
same(result['EvalDecisionDetails'], {'IAM Policy': 'implicitDeny', 'Resource Policy': 'allowed'})
# Of roles nothing is known but what the principal's own policies say, unless their trust policy is given.
for given, want in (({}, ['allowed', 'implicitDeny']), ({'ResourceOwner': 'arn:aws:iam::999988887777:root', 'CallerArn': user['Arn']}, ['implicitDeny'] * 2)):
    results = iam.simulate_custom_policy(PolicyInputList=[policy('sts:AssumeRole')], ActionNames=['sts:AssumeRole', 'sts:TagSession'], **given)['EvaluationResults']
    same([r['EvalDecision'] for r in results], want)
results = pages('simulate_principal_policy', 'EvaluationResults', PolicySourceArn=user['Arn'], ActionNames=['ecr:Geta', 'ecr:Getb', 'ecr:PutImage'], ResourceArns=[repository, '*'])
same([r['EvalDecision'] for r in results], ['allowed', 'allowed', 'implicitDeny', 'implicitDeny', 'implicitDeny', 'implicitDeny'])
result = iam.simulate_principal_policy(PolicySourceArn=role['Arn'], ActionNames=['ecr:Geta'], ResourceArns=[repository])['EvaluationResults'][0]
same((result['EvalDecision'], result['PermissionsBoundaryDecisionDetail']), ('implicitDeny', {'AllowedByPermissionsBoundary': False}))
result = iam.simulate_principal_policy(PolicySourceArn=group['Arn'], ActionNames=['ecr:Geta'], PolicyInputList=[policy('x:y')])['EvaluationResults'][0]
same((result['EvalDecision'], result['MatchedStatements'][0]['SourcePolicyType']), ('allowed', 'group'))
refused('NoSuchEntity', iam.simulate_principal_policy, 404, PolicySourceArn=user['Arn'] + 'x', ActionNames=['ecr:Geta'])
refused('InvalidInput', iam.simulate_custom_policy, 400, PolicyInputList=['{'], ActionNames=['ecr:GetX'])
refused('InvalidInput', iam.simulate_custom_policy, 400, PolicyInputList=[policy('*')], ActionNames=['ecr:*'])
keys = iam.get_context_keys_for_custom_policy(PolicyInputList=[policy('*', resource='arn:aws:ecr:*:*:repository/${aws:username}', Condition={'Bool': {'aws:SecureTransport': 'true'}})])
same(keys['ContextKeyNames'], ['aws:SecureTransport', 'aws:username'])
same(iam.get_context_keys_for_principal_policy(PolicySourceArn=user['Arn'])['ContextKeyNames'], [])

# A user without permissions is told no more than that.
iam.update_access_key(UserName='ann', AccessKeyId=key['AccessKeyId'], Status='Active')
session = boto3.Session(aws_access_key_id=key['AccessKeyId'], aws_secret_access_key=key['SecretAccessKey'])
as_ann = session.client('iam', config=config)
for name in ('emil', 'nobody'):
    message = refused('AccessDenied', as_ann.get_user, 403, UserName=name)
    assert message.startswith(f'User: {user["Arn"]} is not authorized to perform: iam:GetUser on resource: '), message

# Every operation needs its own permission, and that one suffices.
own = dict(UserName='ann')
for action, call, arguments in (
        ('iam:ListMFADevices', as_ann.list_mfa_devices, own), ('iam:GetLoginProfile', as_ann.get_login_profile, own),
        ('iam:ListVirtualMFADevices', as_ann.list_virtual_mfa_devices, {}), ('iam:ListSAMLProviders', as_ann.list_saml_providers, {}),
        ('iam:ListServerCertificates', as_ann.list_server_certificates, {}), ('iam:GetAccountPasswordPolicy', as_ann.get_account_password_policy, {}),
        ('iam:GetAccountAuthorizationDetails', as_ann.get_account_authorization_details, {}),
        ('iam:GetAccountSummary', as_ann.get_account_summary, {}), ('iam:ListUsers', as_ann.list_users, {}),
        ('iam:SimulateCustomPolicy', as_ann.simulate_custom_policy, dict(PolicyInputList=[policy('*')], ActionNames=['a:b'])),
        ('iam:SimulatePrincipalPolicy', as_ann.simulate_principal_policy, dict(PolicySourceArn=user['Arn'], ActionNames=['a:b'])),
        ('iam:GetContextKeysForCustomPolicy', as_ann.get_context_keys_for_custom_policy, dict(PolicyInputList=[policy('*')])),
        ('iam:GetContextKeysForPrincipalPolicy', as_ann.get_context_keys_for_principal_policy, dict(PolicySourceArn=user['Arn'])),
        ('iam:ListSSHPublicKeys', as_ann.list_ssh_public_keys, own), ('iam:GetUserPolicy', as_ann.get_user_policy, dict(UserName='ann', PolicyName='a'))):
    message = refused('AccessDenied', call, 403, **arguments)
    assert f'is not authorized to perform: {action} on resource: ' in message, message
    iam.put_user_policy(UserName='ann', PolicyName='one', PolicyDocument=policy(action))
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response['Error']['Code'] == 'NoSuchEntity', e
    iam.delete_user_policy(UserName='ann', PolicyName='one')
for call, arguments in ((as_ann.simulate_principal_policy, dict(ActionNames=['a:b'])), (as_ann.get_context_keys_for_principal_policy, {})):
    absent, there = (refused('AccessDenied', call, 403, PolicySourceArn=user['Arn'] + end, **arguments).split('; more: ')[0] for end in ('x', ''))
    same(absent.replace('annx', 'ann'), there)
    refused('AccessDenied', call, 403, PolicySourceArn='arn:aws:iam::999988887777:user/ann', **arguments)
iam.update_access_key(UserName='ann', AccessKeyId=key['AccessKeyId'], Status='Inactive')
refused('SignatureDoesNotMatch', as_ann.get_user, 403)

# Away with it all.
iam.remove_role_from_instance_profile(InstanceProfileName='host', RoleName='deploy')
iam.delete_instance_profile(InstanceProfileName='host')
iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider)
iam.delete_access_key(UserName='ann', AccessKeyId=key['AccessKeyId'])
iam.remove_user_from_group(GroupName='team', UserName='ann')
iam.delete_user_permissions_boundary(UserName='bobby')
iam.delete_role_permissions_boundary(RoleName='deploy')
for kind, name in (('user', 'ann'), ('group', 'team'), ('role', 'deploy')):
    who = {f'{kind.capitalize()}Name': name}
    getattr(iam, f'delete_{kind}_policy')(PolicyName='a', **who)
    getattr(iam, f'detach_{kind}_policy')(PolicyArn=arn, **who)
    getattr(iam, f'delete_{kind}')(**who)
iam.delete_role(RoleName='other')
iam.delete_group(GroupName='new')
iam.delete_policy(PolicyArn=arn)
for name in ('bobby', 'Carl', 'dora', 'emil'):
    iam.delete_user(UserName=name)
same((iam.list_users()['Users'], iam.list_roles()['Roles'], iam.list_groups()['Groups']), ([], [], []))

never_answered = {'GetLoginProfile', 'DeleteLoginProfile', 'GetAccountPasswordPolicy'}
same(set(sys.argv[1:]) - shapes.called, never_answered)
print('ok')
