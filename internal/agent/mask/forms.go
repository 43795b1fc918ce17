package mask

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// forms are the texts that give a value away: itself, its lines, and what quoting, escaping and encoding make of them.
func forms(value string) []string {
	seen := map[string]bool{}
	var all []string
	add := func(f string) {
		// No form spans lines, as logs are made of lines.
		for l := range strings.SplitSeq(f, "\n") {
			if l = strings.Trim(l, "\r"); !short(l) && !seen[l] {
				seen[l] = true
				all = append(all, l)
			}
		}
	}
	if short(value) {
		return nil
	}
	add(value)
	value = strings.ToValidUTF8(value, "\uFFFD") // as what writes text writes it
	parts := []string{value, strings.TrimSpace(value)}
	if lines := strings.Split(strings.ReplaceAll(value, "\r\n", "\n"), "\n"); len(lines) > 1 {
		for _, l := range lines {
			parts = append(parts, l, strings.TrimSpace(l))
		}
	}
	done := map[string]bool{}
	for _, p := range parts {
		if done[p] || short(p) {
			continue
		}
		done[p] = true
		add(p)
		for _, f := range escaped(p) {
			add(f)
		}
		for _, f := range encoded(p) {
			add(f)
		}
	}
	return all
}

// html are the runes that JSON for the web escapes.
const html = "<>&\u2028\u2029"

// escaped are a value's quoted and escaped forms.
func escaped(v string) []string {
	json := jsonEscape(v, "", false)
	return []string{
		json,
		jsonEscape(v, html, false), // Go
		jsonEscape(v, "", true),    // ASCII, as Python writes it
		strings.ReplaceAll(json, "/", `\/`),
		jsonEscape(v, `"'<>&+`+"`", true), // .NET
		jsonEscape(json, "", false),       // JSON in JSON
		jsonEscape(jsonEscape(v, html, false), html, false),
		each(v, `\"`, backslash),
		each(v, `\"'`, backslash),
		each(v, `\"$`+"`", backslash),
		each(v, "\\'", backslash),
		unescape(v),
		each(v, "\\ !\"#$&'()*,;<>?[]^`{|}~\t", backslash), // as printf %q of shells
		strings.ReplaceAll(v, "'", `'\''`),
		strings.ReplaceAll(v, "'", `'"'"'`),
		strings.ReplaceAll(v, "'", "''"),
		strings.ReplaceAll(v, `"`, `""`),
		strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(v),
		strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(v),
		strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;").Replace(v),
		strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;").Replace(v),
		strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;").Replace(v),
		strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(v),
		percent(v, "-_.~", "%20", false),
		percent(v, "-_.~", "%20", true),
		percent(v, "-_.~", "+", false),
		percent(v, "-_.", "+", false),
		percent(v, "-_.*", "+", false),
		percent(v, "-_.!~*'()", "%20", false), // encodeURIComponent
		percent(v, "-_.!~*'()", "%20", true),
		percent(v, "-_.!*()", "+", true), // .NET
		percent(v, "-_.!~*'();/?:@&=+$,#", "%20", false),
		percent(v, "-_.~$&+=:@", "%20", false), // a segment of a path
		percent(v, "-_.~!$&'()*+,;=:@/", "%20", false),
		strings.NewReplacer("%", "%AZP25", ";", "%3B", "\r", "%0D", "]", "%5D").Replace(v),
		strings.NewReplacer(";", "%3B", "\r", "%0D", "]", "%5D").Replace(v),
		strings.NewReplacer("%3B", ";", "%0D", "\r", "%0A", "\n", "%5D", "]", "%AZP25", "%").Replace(v),
	}
}

// encoded are a value's encoded forms. As a value is often encoded with something around it, "user:" before it say,
// each alignment in base64 has its form, without the characters that its neighbours take part in.
func encoded(v string) []string {
	all := []string{hex.EncodeToString([]byte(v)), strings.ToUpper(hex.EncodeToString([]byte(v)))}
	wide := make([]byte, 0, 2*len(v))
	for _, u := range utf16.Encode([]rune(v)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			all = append(all, aligned(e, []byte(v), before), aligned(e, wide, before))
		}
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		for _, end := range []string{"", "\n"} {
			text := e.EncodeToString([]byte(v + end))
			all = append(all, text)
			for _, width := range []int{76, 64} { // base64 of coreutils and MIME, PEM
				if len(text) > width {
					all = append(all, wrap(text, width))
				}
			}
		}
	}
	return all
}

// aligned is what of a value's base64 is the same whatever stands around it, where before bytes stand before it in
// its group of three.
func aligned(e *base64.Encoding, v []byte, before int) string {
	text := e.EncodeToString(append(make([]byte, before), v...))
	first := []int{0, 2, 3}[before]
	last := (before + len(v)) * 8 / 6
	return text[first:last]
}

func wrap(s string, width int) string {
	var b strings.Builder
	for len(s) > width {
		b.WriteString(s[:width] + "\n")
		s = s[width:]
	}
	return b.String() + s
}

func backslash(r rune) string { return `\` + string(r) }

// each replaces the runes of a set.
func each(v, set string, by func(rune) string) string {
	var b strings.Builder
	for _, r := range v {
		if strings.ContainsRune(set, r) {
			b.WriteString(by(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unescape(v string) string {
	return strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\"`, `"`, `\t`, "\t", `\n`, "\n").Replace(v)
}

// jsonEscape is a value as it stands in a string of JSON, with the runes of more as \u escapes, and all that is not ASCII too.
func jsonEscape(v, more string, ascii bool) string {
	var b strings.Builder
	for _, r := range v {
		switch {
		case strings.ContainsRune(more, r):
			escapeRune(&b, r, ascii)
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < 0x20 || ascii && r >= utf8.RuneSelf:
			escapeRune(&b, r, ascii && more != "")
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func escapeRune(b *strings.Builder, r rune, upper bool) {
	format := `\u%04x`
	if upper {
		format = `\u%04X`
	}
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		fmt.Fprintf(b, format+format, high, low)
		return
	}
	fmt.Fprintf(b, format, r)
}

// percent is a value escaped for a URL, but for letters, digits and the runes of keep.
func percent(v, keep, space string, lower bool) string {
	format := "%%%02X"
	if lower {
		format = "%%%02x"
	}
	var b strings.Builder
	for i := range len(v) {
		switch c := v[i]; {
		case c == ' ':
			b.WriteString(space)
		case '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c < utf8.RuneSelf && strings.IndexByte(keep, c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, format, c)
		}
	}
	return b.String()
}
