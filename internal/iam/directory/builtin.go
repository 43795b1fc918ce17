package directory

import "strings"

// awsAccount stands for AWS in the ARNs of its managed policies.
const awsAccount = "aws"

// builtin is a managed policy of AWS. Documents are what the AWS Managed Policy Reference Guide shows; those of actions that
// are not served here allow nothing more. The ids are AWS's, as far as they are known.
type builtin struct {
	name, path, id   string
	description      string
	created, updated int64 // Unix seconds
	version          int64
	statements       string
}

// builtins is in the order of names.
var builtins = [...]builtin{
	{
		name: "AdministratorAccess", path: "/", id: "ANPAIWMBCKSKIEE64ZLYK", version: 1, created: 1423247999, updated: 1423247999,
		description: "Provides full access to AWS services and resources.",
		statements:  `{"Effect":"Allow","Action":"*","Resource":"*"}`,
	},
	{
		name: "AmazonEC2ContainerRegistryFullAccess", path: "/", id: "ANPAIESRL7KD7IIVF6V4W", version: 3, created: 1450717596, updated: 1607121653,
		description: "Provides administrative access to Amazon ECR resources",
		statements: `{"Effect":"Allow","Action":["ecr:*","cloudtrail:LookupEvents"],"Resource":"*"},` +
			`{"Effect":"Allow","Action":["iam:CreateServiceLinkedRole"],"Resource":"*","Condition":{"StringEquals":{"iam:AWSServiceName":["replication.ecr.amazonaws.com"]}}}`,
	},
	{
		name: "AmazonEC2ContainerRegistryPowerUser", path: "/", id: "ANPAJDNE5PIHROIBGGDDW", version: 3, created: 1450717516, updated: 1575936425,
		description: "Provides full access to Amazon EC2 Container Registry repositories, but does not allow repository deletion or policy changes.",
		statements: `{"Effect":"Allow","Action":[` + readActions + `,` +
			`"ecr:InitiateLayerUpload","ecr:UploadLayerPart","ecr:CompleteLayerUpload","ecr:PutImage"],"Resource":"*"}`,
	},
	{
		name: "AmazonEC2ContainerRegistryPullOnly", path: "/", id: "ANPAREGISTRYPULLONLY2", version: 2, created: 1728500000, updated: 1728500000,
		description: "Provides access to pull images from Amazon EC2 Container Registry repositories.",
		statements:  `{"Effect":"Allow","Action":["ecr:GetAuthorizationToken","ecr:BatchImportUpstreamImage","ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"],"Resource":"*"}`,
	},
	{
		name: "AmazonEC2ContainerRegistryReadOnly", path: "/", id: "ANPAIFYZPA37OOHVIH7KQ", version: 3, created: 1450717444, updated: 1575936296,
		description: "Provides read-only access to Amazon EC2 Container Registry repositories.",
		statements:  `{"Effect":"Allow","Action":[` + readActions + `],"Resource":"*"}`,
	},
	{
		name: "AmazonECSTaskExecutionRolePolicy", path: "/service-role/", id: "ANPAJG4T4G4PV56DE72PY", version: 1, created: 1510858699, updated: 1510858699,
		description: "Provides access to other AWS service resources that are required to run Amazon ECS tasks",
		statements: `{"Effect":"Allow","Action":["ecr:GetAuthorizationToken","ecr:BatchCheckLayerAvailability","ecr:GetDownloadUrlForLayer",` +
			`"ecr:BatchGetImage","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"}`,
	},
	{
		name: "IAMFullAccess", path: "/", id: "ANPAI7XKCFMBPM3QQRRVQ", version: 2, created: 1423247959, updated: 1561145039,
		description: "Provides full access to IAM via the AWS Management Console.",
		statements: `{"Effect":"Allow","Action":["iam:*","organizations:DescribeAccount","organizations:DescribeOrganization",` +
			`"organizations:DescribeOrganizationalUnit","organizations:DescribePolicy","organizations:ListChildren","organizations:ListParents",` +
			`"organizations:ListPoliciesForTarget","organizations:ListRoots","organizations:ListPolicies","organizations:ListTargetsForPolicy"],"Resource":"*"}`,
	},
	{
		name: "IAMReadOnlyAccess", path: "/", id: "ANPAJKSO7NDY4T57MWDSQ", version: 4, created: 1423248000, updated: 1516835559,
		description: "Provides read only access to IAM via the AWS Management Console.",
		statements: `{"Effect":"Allow","Action":["iam:GenerateCredentialReport","iam:GenerateServiceLastAccessedDetails","iam:Get*","iam:List*",` +
			`"iam:SimulateCustomPolicy","iam:SimulatePrincipalPolicy"],"Resource":"*"}`,
	},
	{
		name: "SecretsManagerReadWrite", path: "/", id: "ANPAI3VG7CI5BIQZQ6G2E", version: 5, created: 1522857769, updated: 1708625832,
		description: "Provides read/write access to AWS Secrets Manager via the AWS Management Console. Note: this exludes IAM actions, so combine with IAMFullAccess if rotation configuration is required.",
		statements: `{"Sid":"BasePermissions","Effect":"Allow","Action":["secretsmanager:*","cloudformation:CreateChangeSet","cloudformation:DescribeChangeSet",` +
			`"cloudformation:DescribeStackResource","cloudformation:DescribeStacks","cloudformation:ExecuteChangeSet","docdb-elastic:GetCluster",` +
			`"docdb-elastic:ListClusters","ec2:DescribeSecurityGroups","ec2:DescribeSubnets","ec2:DescribeVpcs","kms:DescribeKey","kms:ListAliases",` +
			`"kms:ListKeys","lambda:ListFunctions","rds:DescribeDBClusters","rds:DescribeDBInstances","redshift:DescribeClusters",` +
			`"redshift-serverless:ListWorkgroups","redshift-serverless:GetNamespace","tag:GetResources"],"Resource":"*"},` +
			`{"Sid":"LambdaPermissions","Effect":"Allow","Action":["lambda:AddPermission","lambda:CreateFunction","lambda:GetFunction","lambda:InvokeFunction",` +
			`"lambda:UpdateFunctionConfiguration"],"Resource":"arn:aws:lambda:*:*:function:SecretsManager*"},` +
			`{"Sid":"SARPermissions","Effect":"Allow","Action":["serverlessrepo:CreateCloudFormationChangeSet","serverlessrepo:GetApplication"],` +
			`"Resource":"arn:aws:serverlessrepo:*:*:applications/SecretsManager*"},` +
			`{"Sid":"S3Permissions","Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::awsserverlessrepo-changesets*",` +
			`"arn:aws:s3:::secrets-manager-rotation-apps-*/*"]}`,
	},
}

const readActions = `"ecr:GetAuthorizationToken","ecr:BatchCheckLayerAvailability","ecr:GetDownloadUrlForLayer","ecr:GetRepositoryPolicy",` +
	`"ecr:DescribeRepositories","ecr:ListImages","ecr:DescribeImages","ecr:BatchGetImage","ecr:GetLifecyclePolicy","ecr:GetLifecyclePolicyPreview",` +
	`"ecr:ListTagsForResource","ecr:DescribeImageScanFindings"`

func (b *builtin) row() *row {
	const micro = 1_000_000
	return &row{
		id: b.id, account: awsAccount, kind: KindPolicy, name: b.name, path: b.path, description: b.description,
		created: b.created * micro, updated: b.updated * micro, version: b.version, versions: b.version,
		document: `{"Version":"2012-10-17","Statement":[` + b.statements + `]}`,
	}
}

// builtinRows returns the policies of AWS by name.
func builtinRows() []*row {
	rows := make([]*row, len(builtins))
	for i := range builtins {
		rows[i] = builtins[i].row()
	}
	return rows
}

// builtinRow returns a policy of AWS by its ARN, or nil.
func builtinRow(arn string) *row {
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	for i := range builtins {
		if builtins[i].name == name {
			if r := builtins[i].row(); r.arn() == arn {
				return r
			}
		}
	}
	return nil
}
