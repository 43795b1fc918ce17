package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLeast(t *testing.T) {
	const repo = "arn:aws:ecr:eu-west-1:111122223333:repository/"
	got := Least([]Access{
		{"ecr:PutImage", repo + "team/app"}, {"ecr:BatchGetImage", repo + "team/app"}, {"ecr:PutImage", repo + "team/app"},
		{"ecr:BatchGetImage", repo + "team/lib"}, {"ecr:PutImage", repo + "team/lib"},
		{"ecr:GetAuthorizationToken", "*"}, {"ecr:DescribeRepositories", repo + "*"}, {"", ""},
		{"secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:a$b?c-123456"},
	})
	const want = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "ecr:BatchGetImage",
        "ecr:PutImage"
      ],
      "Resource": [
        "arn:aws:ecr:eu-west-1:111122223333:repository/team/app",
        "arn:aws:ecr:eu-west-1:111122223333:repository/team/lib"
      ]
    },
    {
      "Effect": "Allow",
      "Action": [
        "ecr:DescribeRepositories"
      ],
      "Resource": [
        "arn:aws:ecr:eu-west-1:111122223333:repository/*"
      ]
    },
    {
      "Effect": "Allow",
      "Action": [
        "ecr:GetAuthorizationToken"
      ],
      "Resource": [
        "*"
      ]
    },
    {
      "Effect": "Allow",
      "Action": [
        "secretsmanager:GetSecretValue"
      ],
      "Resource": [
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:a${$}b${?}c-123456"
      ]
    }
  ]
}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := Least(nil); got != "" {
		t.Errorf("Least(nil) = %s", got)
	}
}
