package sigv4

import (
	"cmp"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// canonicalRequest returns the canonical form of a request up to and including
// the line feed before the hash of the body.
func canonicalRequest(r *http.Request, query []param, signed []string) string {
	var b strings.Builder
	b.Grow(1 << 10)
	b.WriteString(r.Method)
	b.WriteByte('\n')
	escape(&b, cleanPath(r.URL.EscapedPath()), true)
	b.WriteByte('\n')
	canonicalQuery(&b, query)
	b.WriteByte('\n')
	for _, name := range signed {
		b.WriteString(name)
		b.WriteByte(':')
		for i, value := range headerValues(r, name) {
			if i > 0 {
				b.WriteByte(',')
			}
			trimAll(&b, value)
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(signed, ";"))
	b.WriteByte('\n')
	return b.String()
}

// headerValues returns what the client sent under a name, which net/http keeps
// in other places for some.
func headerValues(r *http.Request, name string) []string {
	switch name {
	case "host":
		return []string{r.Host}
	case "transfer-encoding":
		return r.TransferEncoding
	}
	values := r.Header[textproto.CanonicalMIMEHeaderKey(name)]
	if name == "content-length" && len(values) == 0 && r.ContentLength >= 0 {
		return []string{strconv.FormatInt(r.ContentLength, 10)}
	}
	return values
}

// canonicalQuery writes the parameters but the signature, encoded and sorted by
// name, then value.
func canonicalQuery(b *strings.Builder, query []param) {
	encoded := make([]param, 0, len(query))
	for _, p := range query {
		if p.name == "X-Amz-Signature" {
			continue
		}
		var name, value strings.Builder
		escape(&name, p.name, false)
		escape(&value, p.value, false)
		encoded = append(encoded, param{name.String(), value.String()})
	}
	slices.SortFunc(encoded, func(a, b param) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.value, b.value))
	})
	for i, p := range encoded {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
}

// escape writes s as RFC 3986 encodes it: all but unreserved characters as
// upper-case %XX. A slash stays if slashes is true.
func escape(b *strings.Builder, s string, slashes bool) {
	const hexDigits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			c == '-', c == '.', c == '_', c == '~', c == '/' && slashes:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
}

// cleanPath removes empty, "." and ".." segments (RFC 3986 section 6). A slash
// at the end stays.
func cleanPath(path string) string {
	if path == "" || path == "/" {
		return "/"
	}
	var out []string
	segments := strings.Split(path, "/")
	for _, s := range segments {
		switch s {
		case "", ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, s)
		}
	}
	clean := "/" + strings.Join(out, "/")
	if segments[len(segments)-1] == "" && clean != "/" {
		clean += "/"
	}
	return clean
}

// trimAll writes s without space around it and with runs of spaces as one.
func trimAll(b *strings.Builder, s string) {
	s = strings.TrimSpace(s)
	for i := range len(s) {
		if s[i] == ' ' && s[i-1] == ' ' {
			continue
		}
		b.WriteByte(s[i])
	}
}
