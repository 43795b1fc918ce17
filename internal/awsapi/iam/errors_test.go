package iam_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"github.com/sekisho/sekisho/internal/awsapi/bototest"
	"github.com/sekisho/sekisho/internal/awsapi/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

// TestErrorsAreTheModels compares codes and statuses with the model that botocore ships. Errors that are common to all
// services are not in it.
func TestErrorsAreTheModels(t *testing.T) {
	const script = `
import json
import botocore.session
model = botocore.session.get_session().get_service_model('iam')
errors = [s.metadata.get('error') for s in model.error_shapes]
print(json.dumps({e['code']: e['httpStatusCode'] for e in errors if e}))
`
	out, err := exec.CommandContext(t.Context(), bototest.Python(t, "botocore"), "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	want["ValidationError"] = 400
	for _, kind := range []directory.ErrorKind{
		directory.NoSuchEntity, directory.EntityAlreadyExists, directory.DeleteConflict, directory.LimitExceeded, directory.MalformedPolicyDocument,
		directory.InvalidInput, directory.ValidationError, directory.UnmodifiableEntity, directory.PolicyNotAttachable,
		directory.ConcurrentModification, directory.EntityTemporarilyChanged,
	} {
		code, status := iam.Explain(fmt.Errorf("wrapped: %w", &directory.Error{Kind: kind, Message: "m"}))
		if code != string(kind) || status != want[code] {
			t.Errorf("%s: %s %d, want %d", kind, code, status, want[code])
		}
	}
	for _, err := range []error{errors.New("disk full"), &directory.Error{Kind: "New"}} {
		if code, status := iam.Explain(err); status != 500 {
			t.Errorf("%v: %s %d", err, code, status)
		}
	}
}
