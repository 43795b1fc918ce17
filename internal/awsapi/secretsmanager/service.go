// Package secretsmanager is the AWS Secrets Manager API over a [secret.Store]: it translates inputs and outputs, pages and
// errors, and leaves everything else, who may do what included, to the domain.
//
// Rotation by itself and replication to other regions are refused by name: nothing here runs functions, and an instance
// is one region.
package secretsmanager

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/secret"
)

// API is what the operations work on.
type API struct {
	Secrets *secret.Store
}

// signingName and targetPrefix are those of the service's model, "2017-10-17".
const (
	signingName  = "secretsmanager"
	targetPrefix = "secretsmanager"
)

// Service returns the operations, to be served. Nothing of an input goes into the event of a request: it may be a value.
func (a *API) Service() *awsapi.Service {
	s := awsapi.NewJSON(signingName, targetPrefix, awsapi.ServiceOptions{
		Explain: explain, Internal: "InternalServiceError",
	})
	awsapi.Handle(s, op("CreateSecret"), a.createSecret)
	awsapi.Handle(s, op("UpdateSecret"), a.updateSecret)
	awsapi.Handle(s, op("DescribeSecret"), a.describeSecret)
	awsapi.Handle(s, op("ListSecrets"), a.listSecrets)
	awsapi.Handle(s, op("DeleteSecret"), a.deleteSecret)
	awsapi.Handle(s, op("RestoreSecret"), a.restoreSecret)

	awsapi.Handle(s, op("GetSecretValue"), a.getSecretValue)
	awsapi.Handle(s, op("BatchGetSecretValue"), a.batchGetSecretValue)
	awsapi.Handle(s, op("PutSecretValue"), a.putSecretValue)
	awsapi.Handle(s, op("ListSecretVersionIds"), a.listSecretVersionIDs)
	awsapi.Handle(s, op("UpdateSecretVersionStage"), a.updateSecretVersionStage)
	awsapi.Handle(s, op("GetRandomPassword"), a.getRandomPassword)

	awsapi.Handle(s, op("TagResource"), a.tagResource)
	awsapi.Handle(s, op("UntagResource"), a.untagResource)
	awsapi.Handle(s, op("PutResourcePolicy"), a.putResourcePolicy)
	awsapi.Handle(s, op("GetResourcePolicy"), a.getResourcePolicy)
	awsapi.Handle(s, op("DeleteResourcePolicy"), a.deleteResourcePolicy)
	awsapi.Handle(s, op("ValidateResourcePolicy"), a.validateResourcePolicy)

	awsapi.Unsupported(s, []string{"RotateSecret", "CancelRotateSecret"},
		"Nothing here runs rotation functions: have the rotating program call PutSecretValue and UpdateSecretVersionStage.")
	awsapi.Unsupported(s, []string{"ReplicateSecretToRegions", "RemoveRegionsFromReplication", "StopReplicationToReplica"},
		"Secrets are not replicated to other regions.")
	return s
}

// op has room for a value of 64 KiB whose characters are all escaped.
func op(name string) awsapi.Op { return awsapi.Op{Name: name, Members: constraints[name]} }

// kinds is the one table from the domain's errors to Secrets Manager's. What isn't in it is an internal error.
var kinds = map[secret.Kind]func(m *string) smithy.APIError{
	secret.NotFound:         func(m *string) smithy.APIError { return &types.ResourceNotFoundException{Message: m} },
	secret.Exists:           func(m *string) smithy.APIError { return &types.ResourceExistsException{Message: m} },
	secret.InvalidRequest:   func(m *string) smithy.APIError { return &types.InvalidRequestException{Message: m} },
	secret.InvalidParameter: func(m *string) smithy.APIError { return &types.InvalidParameterException{Message: m} },
	secret.InvalidCursor:    func(m *string) smithy.APIError { return &types.InvalidNextTokenException{Message: m} },
	secret.LimitExceeded:    func(m *string) smithy.APIError { return &types.LimitExceededException{Message: m} },
	secret.MalformedPolicy:  func(m *string) smithy.APIError { return &types.MalformedPolicyDocumentException{Message: m} },
	secret.PublicPolicy:     func(m *string) smithy.APIError { return &types.PublicPolicyException{Message: m} },
	// AWS answers so although the model has no such error.
	secret.InvalidName: func(m *string) smithy.APIError { return &awsapi.Error{Code: "ValidationException", Message: *m} },
}

func explain(err error) smithy.APIError {
	e, ok := errors.AsType[*secret.Error](err)
	if !ok {
		return nil
	}
	if of, ok := kinds[e.Kind]; ok {
		return of(&e.Message)
	}
	return nil
}

func badParameter(format string, args ...any) error {
	return &types.InvalidParameterException{Message: new(fmt.Sprintf(format, args...))}
}

// value returns what an input has for a value.
func value(text *string, binary []byte) (secret.Value, error) {
	switch {
	case text != nil && binary != nil:
		return secret.Value{}, badParameter("You can't specify both a binary secret value and a string secret value in the same secret.")
	case text != nil:
		return secret.Text(*text), nil
	case binary != nil:
		return secret.Binary(binary), nil
	}
	return secret.Value{}, nil
}

// show returns a value as an output has it: one of both.
func show(v secret.Value) (text *string, binary []byte) {
	if v.IsBinary() {
		return nil, v.Reveal()
	}
	return new(string(v.Reveal())), nil
}

func tagMap(tags []types.Tag) (map[string]string, error) {
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		if t.Key == nil {
			return nil, badParameter("A tag has no key.")
		}
		if _, ok := m[*t.Key]; ok {
			return nil, badParameter("Duplicate tag keys found: %s", *t.Key)
		}
		m[*t.Key] = deref(t.Value)
	}
	return m, nil
}

// deref returns what p points at, or zero.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// text is a member that is left out when empty.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// moment is a member that is left out when zero.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

const maxToken = 4096

// token returns a cursor as the client is to send it back. It names content, so it is good after a restart too.
func token[T any](cursor *T) (*string, error) {
	if cursor == nil {
		return nil, nil
	}
	b, err := json.Marshal(cursor)
	if err != nil {
		return nil, err
	}
	return new(base64.RawURLEncoding.EncodeToString(b)), nil
}

// parseToken returns the cursor that a client sent back, nil for none.
func parseToken[T any](token *string) (*T, error) {
	if token == nil {
		return nil, nil
	}
	cursor := new(T)
	b, err := base64.RawURLEncoding.DecodeString(*token)
	if err == nil {
		err = json.Unmarshal(b, cursor)
	}
	if err != nil || len(*token) > maxToken || strings.Contains(string(b), `\u0000`) {
		return nil, &types.InvalidNextTokenException{Message: new("The NextToken must be that of an earlier answer.")}
	}
	return cursor, nil
}

func pageSize(maxResults *int32) int { return int(cmp.Or(deref(maxResults), 100)) }
