package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeFormat = "20060102T150405Z"

	// skew is how far a signature's time may be from ours, either way.
	skew = 15 * time.Minute

	// maxExpires is the longest life of a presigned request.
	maxExpires = 7 * 24 * time.Hour

	maxAuthorization = 4 << 10
	maxQuery         = 16 << 10
	maxSignedHeaders = 64
)

// Scope is what a signature must be for.
type Scope struct {
	Region   string
	Services []string // any of them: "ecr", "sts"
	// Global are those of Services for which a signature for us-east-1 is as good: AWS has one endpoint of them for all
	// regions, and clients sign as if it were there.
	Global []string
}

// globalRegion is where AWS's endpoints for all regions are.
const globalRegion = "us-east-1"

// Claim is a well-formed signature that is in time and in scope, and not yet verified.
type Claim struct {
	AccessKeyID   string
	Service       string // of those in the scope asked for
	SecurityToken string // of temporary credentials; empty for long-lived keys
	Time          time.Time
	Presigned     bool

	scope     string // date/region/service/aws4_request
	signature string
	bodyHash  string // hexadecimal, as the client says; empty when it does not
	signed    []string
	canonical string // the canonical request without the hash of the body
}

// Signs reports whether the signature covers a header. The name is in lower case.
func (c *Claim) Signs(header string) bool {
	_, ok := slices.BinarySearch(c.signed, header)
	return ok
}

// Parse finds the signature of a request and checks everything that can be
// checked without the body and the secret. Errors are of type [*Error].
func (v *Verifier) Parse(r *http.Request, want Scope) (*Claim, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, incomplete("The query string is longer than %d bytes.", maxQuery)
	}
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	params, err := authParams(r, query)
	if err != nil {
		return nil, err
	}
	c := &Claim{signature: params.signature, Presigned: params.presigned}
	if c.SecurityToken, err = single(r, query, params.presigned, "X-Amz-Security-Token"); err != nil {
		return nil, err
	}
	if err := c.parseTime(r, params, v.now().UTC()); err != nil {
		return nil, err
	}
	if err := c.parseCredential(params.credential, want); err != nil {
		return nil, err
	}
	if err := c.parseSignedHeaders(r, params.signedHeaders); err != nil {
		return nil, err
	}
	if err := c.parseBodyHash(r, query); err != nil {
		return nil, err
	}
	c.canonical = canonicalRequest(r, query, c.signed)
	return c, nil
}

// authorization is the parts of a signature as they came.
type authorization struct {
	credential, signedHeaders, signature string
	date                                 string // X-Amz-Date, wherever it was
	expires                              string // X-Amz-Expires
	hasExpires                           bool
	presigned                            bool
}

func authParams(r *http.Request, query []param) (authorization, error) {
	header := r.Header["Authorization"]
	presigned := slices.ContainsFunc(query, func(p param) bool {
		return p.name == "X-Amz-Algorithm" || p.name == "X-Amz-Signature" || p.name == "X-Amz-Credential"
	})
	switch {
	case len(header) == 0 && !presigned:
		return authorization{}, &Error{Kind: Missing, Message: "Missing Authentication Token"}
	case len(header) > 1:
		return authorization{}, incomplete("The request has more than one 'Authorization' header.")
	case len(header) == 1 && presigned:
		return authorization{}, incomplete("Only one authentication mechanism is allowed: an 'Authorization' header or X-Amz-* query-string parameters.")
	case presigned:
		return queryAuthorization(r, query)
	default:
		return headerAuthorization(r, header[0])
	}
}

func headerAuthorization(r *http.Request, header string) (authorization, error) {
	var a authorization
	if len(header) > maxAuthorization {
		return a, incomplete("The 'Authorization' header is longer than %d bytes.", maxAuthorization)
	}
	alg, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !strings.HasPrefix(alg, "AWS4-") {
		// Basic and Bearer credentials, and those of Signature Version 2, are none here.
		return a, &Error{Kind: Missing, Message: "Missing Authentication Token"}
	}
	if err := checkAlgorithm(alg); err != nil {
		return a, err
	}
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.TrimSpace(part)
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return a, incomplete("'%s' not a valid key=value pair (missing equal-sign) in Authorization header.", brief(part))
		}
		var field *string
		switch name {
		case "Credential":
			field = &a.credential
		case "SignedHeaders":
			field = &a.signedHeaders
		case "Signature":
			field = &a.signature
		default:
			return a, incomplete("'%s' is not a parameter of the Authorization header.", brief(name))
		}
		if *field != "" {
			return a, incomplete("Authorization header has more than one '%s' parameter.", name)
		}
		*field = value
	}
	var problems []string
	for _, p := range []struct{ name, value string }{
		{"Credential", a.credential}, {"Signature", a.signature}, {"SignedHeaders", a.signedHeaders},
	} {
		if p.value == "" {
			problems = append(problems, "Authorization header requires '"+p.name+"' parameter.")
		}
	}
	var err error
	if a.date, err = headerDate(r); err != nil {
		return a, err
	}
	if a.date == "" {
		problems = append(problems, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if problems != nil {
		return a, incomplete("%s", strings.Join(problems, " "))
	}
	return a, nil
}

// headerDate returns the time of a request signed in its header, in timeFormat
// if the request has it in a form that is known, or "".
func headerDate(r *http.Request) (string, error) {
	for _, name := range []string{"X-Amz-Date", "Date"} {
		values := r.Header[name]
		if len(values) > 1 {
			return "", incomplete("The request has more than one '%s' header.", name)
		}
		if len(values) == 0 || values[0] == "" {
			continue
		}
		if name == "Date" {
			if t, err := http.ParseTime(values[0]); err == nil {
				return t.UTC().Format(timeFormat), nil
			}
		}
		return values[0], nil
	}
	return "", nil
}

func queryAuthorization(r *http.Request, query []param) (authorization, error) {
	a := authorization{presigned: true}
	var alg string
	var problems []string
	for _, p := range []struct {
		name  string
		value *string
	}{
		{"X-Amz-Algorithm", &alg},
		{"X-Amz-Credential", &a.credential},
		{"X-Amz-Signature", &a.signature},
		{"X-Amz-SignedHeaders", &a.signedHeaders},
		{"X-Amz-Date", &a.date},
		{"X-Amz-Expires", &a.expires},
	} {
		value, n := lookup(query, p.name)
		if n > 1 {
			return a, incomplete("The query string has more than one '%s' parameter.", p.name)
		}
		*p.value = value
		switch {
		case p.name == "X-Amz-Expires":
			a.hasExpires = n == 1
		case value == "":
			problems = append(problems, "AWS query-string parameters must include '"+p.name+"'.")
		}
	}
	if problems != nil {
		return a, incomplete("%s Re-examine the query-string parameters.", strings.Join(problems, " "))
	}
	if len(r.Header["X-Amz-Date"]) > 0 {
		return a, incomplete("The request has 'X-Amz-Date' both as a header and in the query string.")
	}
	return a, checkAlgorithm(alg)
}

func checkAlgorithm(alg string) error {
	switch {
	case alg == algorithm:
		return nil
	case strings.HasPrefix(alg, "AWS4-ECDSA-"):
		return incomplete("Unsupported AWS 'algorithm': '%s' (Signature Version 4a). Sign with '%s'.", brief(alg), algorithm)
	default:
		return incomplete("Unsupported AWS 'algorithm': '%s'. Sign with '%s'.", brief(alg), algorithm)
	}
}

// parseTime checks the signature's time against now.
func (c *Claim) parseTime(r *http.Request, a authorization, now time.Time) error {
	t, err := time.Parse(timeFormat, a.date)
	if err != nil || len(a.date) != len(timeFormat) {
		return incomplete("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", brief(a.date))
	}
	c.Time = t
	if now.Add(skew).Before(t) {
		return invalid("Signature not yet current: %s is still later than %s (%s + 15 min.)",
			t.Format(timeFormat), now.Add(skew).Format(timeFormat), now.Format(timeFormat))
	}
	life := skew
	if a.hasExpires {
		seconds, err := strconv.ParseInt(a.expires, 10, 64)
		switch {
		case err != nil || strings.HasPrefix(a.expires, "+"):
			return incomplete("X-Amz-Expires should be a number. Got '%s'.", brief(a.expires))
		case seconds < 1:
			return incomplete("X-Amz-Expires must be at least 1 second. Got '%s'.", brief(a.expires))
		case seconds > int64(maxExpires/time.Second):
			return incomplete("X-Amz-Expires must be at most a week (604800 seconds). Got '%s'.", brief(a.expires))
		}
		life = time.Duration(seconds) * time.Second
	}
	if t.Add(life).Before(now) {
		span := strconv.FormatInt(int64(life/time.Minute), 10) + " min."
		if life%time.Minute != 0 {
			span = strconv.FormatInt(int64(life/time.Second), 10) + " sec."
		}
		return invalid("Signature expired: %s is now earlier than %s (%s - %s)",
			t.Format(timeFormat), now.Add(-life).Format(timeFormat), now.Format(timeFormat), span)
	}
	return nil
}

// parseCredential checks keyid/date/region/service/aws4_request.
func (c *Claim) parseCredential(credential string, want Scope) error {
	parts := strings.Split(brief(credential), "/")
	if len(parts) != 5 || parts[0] == "" || len(credential) > len(brief(credential)) {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", brief(credential))
	}
	id, date, region, service, term := parts[0], parts[1], parts[2], parts[3], parts[4]
	if day := c.Time.Format("20060102"); date != day {
		return invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.",
			date, day, c.Time.Format(timeFormat))
	}
	if region != want.Region && !(region == globalRegion && slices.Contains(want.Global, service)) {
		return invalid("Credential should be scoped to a valid region, not '%s'. This endpoint's region is '%s'.", region, want.Region)
	}
	if !slices.Contains(want.Services, service) {
		return invalid("Credential should be scoped to correct service: '%s', not '%s'.", strings.Join(want.Services, "' or '"), service)
	}
	if term != terminator {
		return invalid("Credential should be scoped with a valid terminator: '%s', not '%s'.", terminator, term)
	}
	c.AccessKeyID, c.Service = id, service
	c.scope = credential[len(id)+1:]
	return nil
}

func (c *Claim) parseSignedHeaders(r *http.Request, list string) error {
	if strings.Count(list, ";") >= maxSignedHeaders {
		return incomplete("SignedHeaders lists more than %d headers.", maxSignedHeaders)
	}
	c.signed = strings.Split(list, ";")
	for i, name := range c.signed {
		if name == "" || strings.ContainsFunc(name, notHeaderName) {
			return incomplete("'%s' in SignedHeaders is not the name of a header in lower case.", brief(name))
		}
		if i > 0 && c.signed[i-1] >= name {
			return incomplete("SignedHeaders must be sorted and without duplicates; '%s' follows '%s'.", brief(name), brief(c.signed[i-1]))
		}
	}
	if !c.Signs("host") {
		return incomplete("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name, values := range r.Header {
		if !strings.HasPrefix(name, "X-Amz-") {
			continue
		}
		if !c.Signs(strings.ToLower(name)) {
			return incomplete("'%s' must be a 'SignedHeader' in the AWS Authorization.", brief(name))
		}
		if len(values) > 1 {
			return incomplete("The request has more than one '%s' header.", brief(name))
		}
	}
	if !c.Presigned && len(r.Header["X-Amz-Date"]) == 0 && !c.Signs("date") {
		return incomplete("'X-Amz-Date' or 'Date' must be a 'SignedHeader' in the AWS Authorization.")
	}
	return nil
}

// notHeaderName reports whether r can't be in the name of a header in lower case.
func notHeaderName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
}

func (c *Claim) parseBodyHash(r *http.Request, query []param) error {
	hash, err := single(r, query, c.Presigned, "X-Amz-Content-Sha256")
	if err != nil {
		return err
	}
	if hash != "" && (len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "") {
		return invalid("x-amz-content-sha256 must be the SHA-256 of the body in lower-case hexadecimal: "+
			"unsigned and chunked bodies are not accepted here. Got '%s'.", brief(hash))
	}
	c.bodyHash = hash
	return nil
}

// single returns the value of a header, or of a parameter of the same name when
// the request is presigned. That headers occur once is checked elsewhere, with
// all X-Amz-* headers.
func single(r *http.Request, query []param, presigned bool, name string) (string, error) {
	value := r.Header.Get(name)
	if !presigned {
		return value, nil
	}
	q, n := lookup(query, name)
	switch {
	case n > 1:
		return "", incomplete("The query string has more than one '%s' parameter.", name)
	case n == 1 && value != "":
		return "", incomplete("The request has '%s' both as a header and in the query string.", name)
	case n == 1:
		return q, nil
	}
	return value, nil
}

// param is a parameter of the query string, decoded.
type param struct{ name, value string }

func parseQuery(raw string) ([]param, error) {
	var params []param
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		// net/url does not take a semicolon either; a handler must see what was signed.
		if err != nil || strings.Contains(part, ";") {
			return nil, incomplete("The query string is malformed at '%s'.", brief(part))
		}
		params = append(params, param{n, value})
	}
	return params, nil
}

// lookup returns the first value of a parameter and how many it has.
func lookup(query []param, name string) (value string, n int) {
	for _, p := range query {
		if p.name == name {
			if n == 0 {
				value = p.value
			}
			n++
		}
	}
	return value, n
}
