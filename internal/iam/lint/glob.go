package lint

import "strings"

// literalStar stands, in what patterns are compared with, for a character that only wildcards match: the star in the
// resource "*" of actions that have none.
const literalStar = "\x00"

// glob reports whether text matches a pattern, in which * stands for any characters and ? for one. A star in text is
// matched by a star alone: so that the answer for a pattern as the text is whether all that it matches is matched.
func glob(pattern, text string, fold bool) bool {
	if fold {
		pattern, text = lower(pattern), lower(text)
	}
	p, t := 0, 0
	star, from := -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' && text[t] != '*' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			from++
			p, t = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// coversARN reports whether one pattern of resources matches all that another does. No wildcard is taken to reach over a
// colon, so that some that do are missed.
func coversARN(wide, narrow string) bool {
	if wide == "*" || wide == narrow {
		return true
	}
	w, n := strings.SplitN(wide, ":", 6), strings.SplitN(narrow, ":", 6)
	if len(w) < 6 || len(n) < 6 {
		return false
	}
	for i := range w {
		if !glob(w[i], n[i], false) {
			return false
		}
	}
	return true
}

// overlap reports whether there is a string that matches both patterns.
func overlap(a, b string) bool {
	if len(a) > 4096 || len(b) > 4096 {
		return true
	}
	row, below := make([]bool, len(b)+1), make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		for j := len(b); j >= 0; j-- {
			switch {
			case i == len(a) && j == len(b):
				row[j] = true
			case i < len(a) && a[i] == '*':
				row[j] = below[j] || j < len(b) && row[j+1]
			case j < len(b) && b[j] == '*':
				row[j] = row[j+1] || i < len(a) && below[j]
			default:
				row[j] = i < len(a) && j < len(b) && (a[i] == b[j] || a[i] == '?' || b[j] == '?') && below[j+1]
			}
		}
		row, below = below, row
	}
	return below[0]
}

func wild(s string) bool { return strings.ContainsAny(s, "*?") }

// closest returns the one of candidates that is nearly s, whatever its case, or "".
func closest(s string, candidates []string) string {
	best, least := "", 1+min(2, len(s)/4)
	for _, c := range candidates {
		if abs(len(c)-len(s)) >= least {
			continue
		}
		if d := distance(strings.ToLower(s), strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

func abs(n int) int { return max(n, -n) }

// distance is how many bytes must be put in, left out, replaced or swapped with the next to make b of a.
func distance(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return max(len(a), len(b))
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
		for j := range rows[i] {
			switch {
			case i == 0:
				rows[i][j] = j
			case j > 0:
				cost := 1
				if a[i-1] == b[j-1] {
					cost = 0
				}
				rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
				}
			}
		}
	}
	return rows[len(a)][len(b)]
}
