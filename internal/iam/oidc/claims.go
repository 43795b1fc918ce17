package oidc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxDepth  = 6   // of objects in claims
	maxValues = 512 // in all claims together
)

// claims are the payload of a token, by their exact names. Numbers are of type json.Number.
type claims map[string]any

func parseClaims(payload []byte) (claims, error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var c claims
	if err := d.Decode(&c); err != nil || c == nil || d.InputOffset() != int64(len(bytes.TrimRight(payload, " \t\r\n"))) {
		return nil, &Error{Kind: Invalid, Message: "The claims of the web identity token are not a JSON object.", Err: err}
	}
	return c, nil
}

// text returns a claim that must be there.
func (c claims) text(name string) (string, error) {
	s, ok := c[name].(string)
	if !ok || s == "" {
		return "", invalid("The web identity token has no claim %q, or it is not a string.", name)
	}
	return s, nil
}

// instant returns a claim that is a time (RFC 7519 section 2, NumericDate), and whether it is there.
func (c claims) instant(name string) (time.Time, bool, error) {
	v, ok := c[name]
	if !ok {
		return time.Time{}, false, nil
	}
	n, ok := v.(json.Number)
	if ok {
		seconds, err := n.Float64()
		if err == nil && math.Abs(seconds) < 1e11 {
			return time.UnixMilli(int64(seconds * 1000)).UTC(), true, nil
		}
	}
	return time.Time{}, false, invalid("The claim %q of the web identity token is not a time in seconds.", name)
}

// texts returns a claim that is a string or a list of strings.
func (c claims) texts(name string) ([]string, error) {
	switch v := c[name].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		all := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, invalid("The claim %q of the web identity token has an element that is not a string.", name)
			}
			all = append(all, s)
		}
		return all, nil
	}
	return nil, invalid("The claim %q of the web identity token is neither a string nor a list of strings.", name)
}

// identity checks the claims of a token whose signature was verified, and returns what they say.
func (v *Verifier) identity(p *Provider, c claims) (*Identity, error) {
	id := &Identity{}
	var err error
	if id.Subject, err = c.text("sub"); err != nil {
		return nil, err
	}
	if id.Expires, err = c.inTime(v.o.Now()); err != nil {
		return nil, err
	}
	aud, err := c.audience(p)
	if err != nil {
		return nil, err
	}
	id.Audience = aud[0]

	f := flattener{values: map[string][]string{}}
	for name, value := range c {
		f.add(name, value, 0)
	}
	if f.tooMuch {
		return nil, invalid("The web identity token has more than %d values in its claims, or objects nested more than %d deep.", maxValues, maxDepth)
	}
	prefix := strings.ToLower(strings.TrimPrefix(p.URL, "https://")) + ":"
	id.Keys = make(map[string][]string, len(f.values)+1)
	for _, name := range f.names() {
		lower := strings.ToLower(name)
		if _, exact := f.values[lower]; exact && lower != name {
			continue // "Sub" must not add to what "sub" says
		}
		id.Keys[prefix+lower] = f.values[name]
	}
	if azp, ok := c["azp"].(string); ok && azp != "" {
		id.Keys[prefix+"oaud"] = id.Keys[prefix+"aud"]
		id.Keys[prefix+"aud"] = []string{azp}
	}
	if err := id.session(&f); err != nil {
		return nil, err
	}
	return id, nil
}

// inTime checks the times of a token and returns its end.
func (c claims) inTime(now time.Time) (time.Time, error) {
	expires, ok, err := c.instant("exp")
	if err == nil && !ok {
		err = invalid("The web identity token has no claim %q.", "exp")
	}
	if err != nil {
		return expires, err
	}
	if !now.Before(expires.Add(skew)) {
		return expires, &Error{Kind: Expired, Message: fmt.Sprintf("Token expired: current date/time %s must be before the expiration date/time %s",
			now.UTC().Format(time.RFC3339), expires.Format(time.RFC3339))}
	}
	for _, name := range []string{"nbf", "iat"} {
		t, ok, err := c.instant(name)
		if err != nil {
			return expires, err
		}
		if ok && t.After(now.Add(skew)) {
			return expires, invalid("The web identity token is not yet good: its claim %q is %s, and it is %s.", name, t.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
	}
	return expires, nil
}

// audience checks whom a token is for, and returns it: whoever it was issued to, if it says so. Both must be among the
// provider's client ids (OpenID Connect Core section 3.1.3.7, 3 to 5).
func (c claims) audience(p *Provider) ([]string, error) {
	aud, err := c.texts("aud")
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(p.ClientIDs, a) }) {
		return nil, invalid("Incorrect token audience")
	}
	azp, ok := c["azp"]
	if !ok {
		return aud, nil
	}
	party, ok := azp.(string)
	if !ok || !slices.Contains(p.ClientIDs, party) {
		return nil, invalid("Incorrect token audience: the party that the token was issued to, in its claim \"azp\", is not among the provider's client IDs")
	}
	return []string{party}, nil
}

// flattener makes one level of the claims.
type flattener struct {
	values  map[string][]string
	count   int
	tooMuch bool
}

func (f *flattener) add(name string, value any, depth int) {
	if f.count++; f.count > maxValues || depth > maxDepth {
		f.tooMuch = true
		return
	}
	switch v := value.(type) {
	case string:
		f.values[name] = append(f.values[name], v)
	case json.Number:
		f.values[name] = append(f.values[name], v.String())
	case bool:
		f.values[name] = append(f.values[name], strconv.FormatBool(v))
	case []any:
		for _, e := range v {
			f.add(name, e, depth+1)
		}
	case map[string]any:
		for member, e := range v {
			f.add(name+"/"+member, e, depth+1)
		}
	}
}

func (f *flattener) names() []string {
	names := make([]string, 0, len(f.values))
	for name := range f.values {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// The claims that say what a session is to have. IAM User Guide, "Pass session tags in AWS STS".
const (
	tagClaims       = "https://aws.amazon.com/tags/principal_tags/"
	transitiveClaim = "https://aws.amazon.com/tags/transitive_tag_keys"
	sourceClaim     = "https://aws.amazon.com/source_identity"
)

func (id *Identity) session(f *flattener) error {
	for _, name := range f.names() {
		key, ok := strings.CutPrefix(name, tagClaims)
		if !ok {
			continue
		}
		if len(f.values[name]) != 1 {
			return invalid("The session tag %q of the web identity token has not one value.", clip(key))
		}
		if id.Tags == nil {
			id.Tags = map[string]string{}
		}
		id.Tags[key] = f.values[name][0]
	}
	id.Transitive = f.values[transitiveClaim]
	if source := f.values[sourceClaim]; len(source) == 1 {
		id.SourceIdentity = source[0]
	} else if len(source) > 1 {
		return invalid("The web identity token has more than one source identity.")
	}
	return nil
}
