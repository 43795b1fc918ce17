package ecr_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/awsapi/bototest"
	"github.com/sekisho/sekisho/internal/awsapi/ecr"
)

// env is the environment in which AWS's clients use the server.
func (s *server) env() []string {
	return bototest.Env(s.URL, region, s.key.ID, s.key.Secret.Reveal())
}

// TestBoto3 does with boto3 what people's scripts do, paginators included. Every answer is held against botocore's model.
func TestBoto3(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, script := range []string{"client.py", "repositories.py"} {
		t.Run(script, func(t *testing.T) { runBoto3(t, script) })
	}
}

// runBoto3 runs a script of testdata against a server of its own.
func runBoto3(t *testing.T, script string) {
	bototest.Run(t, newServer(t).env(), "testdata/"+script)
}

// TestConstraintsAreTheModels compares the constraints with the model that botocore ships.
func TestConstraintsAreTheModels(t *testing.T) {
	operations := bototest.Model(t, "ecr")
	for op, members := range ecr.Constraints() {
		want := operations[op]
		if c, ok := want["uploadId"]; ok { // ours have another form
			c.Pattern = ""
			want["uploadId"] = c
		}
		if diff := cmp.Diff(want, bototest.Constraints(members)); diff != "" {
			t.Errorf("%s (-model +ours):\n%s", op, diff)
		}
	}
}
