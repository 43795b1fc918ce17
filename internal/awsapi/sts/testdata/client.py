import os
import sys
import time

import boto3
from botocore.exceptions import ClientError
from botocore.session import get_session
from botocore.validate import ParamValidator

folder, account, role = sys.argv[1:]
model = get_session().get_service_model('sts')


def check(operation, out):
    """Holds an answer against the model."""
    out = {k: v for k, v in out.items() if k != 'ResponseMetadata'}
    shape = model.operation_model(operation).output_shape
    unknown = set(out) - set(shape.members)
    report = ParamValidator().validate(out, shape)
    assert not unknown and not report.has_errors(), (operation, unknown, report.generate_report())
    return out


def refused(code, call, **kwargs):
    try:
        call(**kwargs)
    except ClientError as e:
        assert e.response['Error']['Code'] == code, e
        return e
    raise AssertionError('not refused: ' + code)


def who(session):
    return check('GetCallerIdentity', session.client('sts').get_caller_identity())['Arn']


alice = boto3.Session(profile_name='alice')
assert who(alice) == f'arn:aws:iam::{account}:user/alice'
sts = alice.client('sts')
assumed = f'arn:aws:sts::{account}:assumed-role/builder/'

# A role in a profile, with another profile as its source.
assert who(boto3.Session(profile_name='builder')) == assumed + 'laptop'

# A role, directly.
out = check('AssumeRole', sts.assume_role(RoleArn=role, RoleSessionName='direct', Tags=[{'Key': 'Team', 'Value': 'Blue'}]))
c = out['Credentials']
assert out['AssumedRoleUser']['Arn'] == assumed + 'direct' and c['Expiration'].timestamp() > time.time() + 3500, out
direct = boto3.Session(c['AccessKeyId'], c['SecretAccessKey'], c['SessionToken'])
assert who(direct) == assumed + 'direct'
refused('InvalidClientTokenId', boto3.Session(c['AccessKeyId'], c['SecretAccessKey']).client('sts').get_caller_identity)
e = refused('AccessDenied', direct.client('sts').assume_role, RoleArn=role, RoleSessionName='again')
assert e.response['ResponseMetadata']['HTTPStatusCode'] == 403, e

# A web identity in a file.
os.environ['AWS_ROLE_ARN'] = role
os.environ['AWS_ROLE_SESSION_NAME'] = 'job'
os.environ['AWS_WEB_IDENTITY_TOKEN_FILE'] = folder + '/token'
assert who(boto3.Session()) == assumed + 'job'
os.environ['AWS_WEB_IDENTITY_TOKEN_FILE'] = folder + '/other-token'
refused('AccessDenied', boto3.Session().client('sts').get_caller_identity)
token = open(folder + '/token').read()
check('AssumeRoleWithWebIdentity', sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName='job', WebIdentityToken=token))
refused('InvalidIdentityToken', sts.assume_role_with_web_identity, RoleArn=role, RoleSessionName='job', WebIdentityToken='a.b.c')

# The rest.
check('GetSessionToken', sts.get_session_token())
refused('AccessDenied', sts.get_access_key_info, AccessKeyId=c['AccessKeyId'])
for operation in model.operation_names:
    if operation in ('GetFederationToken', 'AssumeRoot', 'GetWebIdentityToken', 'GetDelegatedAccessToken'):
        call = {
            'GetFederationToken': lambda: sts.get_federation_token(Name='bob'),
            'AssumeRoot': lambda: sts.assume_root(TargetPrincipal=account, TaskPolicyArn={'arn': 'arn:aws:iam::aws:policy/root-task/IAMAuditRootUserCredentials'}),
            'GetWebIdentityToken': lambda: sts.get_web_identity_token(Audience=['a'], SigningAlgorithm='ES384'),
            'GetDelegatedAccessToken': lambda: sts.get_delegated_access_token(TradeInToken='abcd'),
        }[operation]
        refused('UnsupportedOperation', call)
print('ok')
