package meta

import "strings"

// positional rewrites the $n placeholders of q to ?, which SQLite binds by position rather than by name. order
// tells for each ? which argument (from 0) it takes; nil means that they are taken as they come.
func positional(q string) (out string, order []int) {
	var b strings.Builder
	b.Grow(len(q))
	inOrder := true
	for i := 0; i < len(q); {
		switch c := q[i]; {
		case c == '\'' || c == '"':
			end := i + 1
			for end < len(q) && q[end] != c { // a doubled quote ends one literal and begins another, which is as good
				end++
			}
			end = min(end+1, len(q))
			b.WriteString(q[i:end])
			i = end
		case c == '-' && strings.HasPrefix(q[i:], "--"):
			end := strings.IndexByte(q[i:], '\n')
			if end < 0 {
				end = len(q) - i
			}
			i += end
		case c == '$' && i+1 < len(q) && isDigit(q[i+1]):
			n := 0
			for i++; i < len(q) && isDigit(q[i]); i++ {
				n = n*10 + int(q[i]-'0')
			}
			b.WriteByte('?')
			inOrder = inOrder && n == len(order)+1
			order = append(order, n-1)
		default:
			b.WriteByte(c)
			i++
		}
	}
	if inOrder {
		order = nil
	}
	return b.String(), order
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
