package directory

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"

	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
)

// compiled keeps documents that have been parsed: most are many principals'.
type compiled struct {
	mu    sync.Mutex
	known map[compiledKey]*policy.Policy // guarded by mu; at most maxCompiled
}

type compiledKey struct {
	kind     policy.Kind
	document string
}

const maxCompiled = 4096

// compile parses a document. What is wrong with it is an [*Error].
func (s *Service) compile(document string, kind policy.Kind) (*policy.Policy, error) {
	key := compiledKey{kind, document}
	s.compiled.mu.Lock()
	p := s.compiled.known[key]
	s.compiled.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := policy.Parse([]byte(document), kind)
	if err != nil {
		return nil, errf(MalformedPolicyDocument, "%s", malformed(err))
	}
	s.compiled.mu.Lock()
	defer s.compiled.mu.Unlock()
	if s.compiled.known == nil {
		s.compiled.known = make(map[compiledKey]*policy.Policy)
	}
	if len(s.compiled.known) >= maxCompiled {
		for other := range s.compiled.known { // any one: it costs little to parse it again
			delete(s.compiled.known, other)
			break
		}
	}
	s.compiled.known[key] = p
	return p, nil
}

// malformed is what clients are told, with line and column.
func malformed(err error) string {
	if _, ok := errors.AsType[*policy.SyntaxError](err); ok {
		return "The policy is malformed: " + err.Error()
	}
	return err.Error()
}

// named is a principal as it stands in a document.
type named struct {
	kind       string // "AWS", "Federated", …; "" for "*" alone
	text       string
	start, end int // of the JSON string, with its quotes
}

// principals returns the principals that the statements of a document name. What is no policy has none.
func principals(document string) iter.Seq[named] {
	return func(yield func(named) bool) {
		dec := json.NewDecoder(strings.NewReader(document))
		walk(dec, document, nil, yield)
	}
}

// walk reads one value and yields the strings in it that are principals; path is what leads to it, without indexes of lists.
func walk(dec *json.Decoder, document string, path []string, yield func(named) bool) bool {
	before := dec.InputOffset()
	token, err := dec.Token()
	if err != nil {
		return false
	}
	switch token {
	case json.Delim('{'):
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return false
			}
			key, _ := name.(string)
			if !walk(dec, document, append(path, key), yield) {
				return false
			}
		}
		_, err := dec.Token()
		return err == nil || errors.Is(err, io.EOF)
	case json.Delim('['):
		for dec.More() {
			if !walk(dec, document, path, yield) {
				return false
			}
		}
		_, err := dec.Token()
		return err == nil
	}
	text, ok := token.(string)
	if !ok || len(path) < 2 || len(path) > 3 || path[0] != "Statement" || path[1] != "Principal" && path[1] != "NotPrincipal" {
		return true
	}
	n := named{text: text, end: int(dec.InputOffset())}
	n.start = int(before) + strings.IndexByte(document[before:n.end], '"')
	if len(path) == 3 {
		n.kind = path[2]
	}
	return yield(n)
}

// ReplacePrincipal returns a policy with one principal, an ARN, in place of another in its Principal and NotPrincipal
// elements, and whether it was there. The rest of the text stays as it is. An ARN that ends with "/*" stands for all that begin
// as it does: the sessions of a role.
func ReplacePrincipal(document, from, to string) (string, bool) {
	prefix, many := allBelow(from)
	var b strings.Builder
	last := 0
	for p := range principals(document) {
		if p.kind == "AWS" && (p.text == from || many && strings.HasPrefix(p.text, prefix)) {
			quoted, err := json.Marshal(to)
			if err != nil {
				return document, false
			}
			b.WriteString(document[last:p.start])
			b.Write(quoted)
			last = p.end
		}
	}
	if last == 0 {
		return document, false
	}
	b.WriteString(document[last:])
	return b.String(), true
}

// allBelow returns how the ARNs begin that one ending with "/*" stands for, which no principal does by itself.
func allBelow(arn string) (prefix string, many bool) {
	if !strings.HasSuffix(arn, "/*") {
		return arn, false
	}
	return strings.TrimSuffix(arn, "*"), true
}

// CheckPrincipals checks that the users and roles that a resource policy or a trust policy names are there. One that is to
// come can't be trusted yet, and one that is gone has left its unique id, which can't be trusted any more; both are a
// [MalformedPolicyDocument]. Accounts may be of other instances. It is for the transaction that stores the document, after
// [iam.Generation.Bump].
func CheckPrincipals(ctx context.Context, tx *meta.Tx, document string) error {
	who, err := UnknownPrincipal(ctx, tx, document)
	if err == nil && who != "" {
		err = errf(MalformedPolicyDocument, "Invalid principal in policy: \"AWS\":%q", who)
	}
	return err
}

// UnknownPrincipal is CheckPrincipals for documents of others: it returns the first principal that is not there, or "".
func UnknownPrincipal(ctx context.Context, tx *meta.Tx, document string) (string, error) {
	for p := range principals(document) {
		if p.kind != "AWS" {
			continue
		}
		rest, iamARN := strings.CutPrefix(p.text, "arn:aws:iam::")
		account, resource, _ := strings.Cut(rest, ":")
		kind, name, _ := strings.Cut(resource, "/")
		there := true
		switch {
		case iamARN && (kind == string(KindUser) || kind == string(KindRole)):
			r, err := byName(ctx, tx, account, Kind(kind), name[strings.LastIndexByte(name, '/')+1:])
			if err != nil {
				return "", err
			}
			there = r != nil && r.arn() == p.text
		case !strings.Contains(p.text, ":"):
			there = p.text == "*" || len(p.text) == 12
		}
		if !there {
			return p.text, nil
		}
	}
	return "", nil
}

// renamed puts another principal in place of one in all trust policies, and lets others do the same.
func (s *Service) renamed(ctx context.Context, tx *meta.Tx, from, to string) error {
	if err := trusts.Rename(ctx, tx, from, to); err != nil {
		return err
	}
	return s.o.OnRename(ctx, tx, from, to)
}
