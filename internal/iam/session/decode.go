package session

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
)

// Refusal is a refusal as the record has it.
type Refusal struct {
	Principal, Action, Resource string // ARNs
	Reason                      string
	Trace                       json.RawMessage // nil if it was not kept
}

// decoded is what a refusal is told as, in the form of AWS's decoded messages.
type decoded struct {
	Allowed           bool           `json:"allowed"`
	ExplicitDeny      bool           `json:"explicitDeny"`
	MatchedStatements items          `json:"matchedStatements"`
	Failures          items          `json:"failures"`
	Context           decodedContext `json:"context"`
	// These are ours.
	Reason string          `json:"reason"`
	Trace  json.RawMessage `json:"trace,omitempty"`
}

type items struct {
	Items []any `json:"items"`
}

type decodedContext struct {
	Principal struct {
		ARN string `json:"arn"`
	} `json:"principal"`
	Action     string `json:"action"`
	Resource   string `json:"resource"`
	Conditions items  `json:"conditions"`
}

// Explain returns how a refusal came about, as JSON. The message that stands for it is the request id that every refusal
// says: refusals here have no encoded message of their own. It is told in the account of whoever was refused; the trace,
// which quotes the policies of the resource, only where that is the account's too. Errors: [*iam.DeniedError], [*Error].
func (s *Service) Explain(ctx context.Context, c *iam.Caller, message string) (string, error) {
	if err := longLived(c, "DecodeAuthorizationMessage"); err != nil {
		return "", err
	}
	if err := s.judge.Check(ctx, c, iam.On(c, "sts:DecodeAuthorizationMessage", "*")); err != nil {
		return "", err
	}
	message = strings.TrimSpace(message)
	if s.o.Refusals == nil || message == "" || strings.Trim(message, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return "", errInvalidMessage
	}
	all, err := s.o.Refusals(ctx, message)
	if err != nil {
		return "", fmt.Errorf("find refusals of request %s: %w", message, err)
	}
	for i := len(all) - 1; i >= 0; i-- { // the last one ended the request
		r := &all[i]
		if iam.ARNAccount(r.Principal) != c.Account {
			continue
		}
		d := decoded{MatchedStatements: items{[]any{}}, Failures: items{[]any{}}, Reason: r.Reason}
		d.Context.Principal.ARN, d.Context.Action, d.Context.Resource, d.Context.Conditions = r.Principal, r.Action, r.Resource, items{[]any{}}
		var trace struct {
			Decision string `json:"decision"`
		}
		// Of other accounts' resources the reason has said what there is to be told.
		own := r.Resource == "*" || iam.ARNAccount(r.Resource) == c.Account
		if own && len(r.Trace) > 0 && json.Unmarshal(r.Trace, &trace) == nil {
			d.ExplicitDeny, d.Trace = trace.Decision == "ExplicitlyDenied", r.Trace
		} else {
			d.ExplicitDeny = strings.HasPrefix(r.Reason, "with an explicit deny")
		}
		text, err := json.Marshal(d)
		return string(text), err
	}
	return "", errInvalidMessage
}

var errInvalidMessage = errf(InvalidMessage, "Message is not valid. Give the request id of a refusal in this account: it is in the refusal, and in the header X-Request-Id of its answer.")
