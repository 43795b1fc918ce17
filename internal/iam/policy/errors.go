package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// SyntaxError says where a document is not a policy and what would make it one.
type SyntaxError struct {
	Line, Column int    // from 1; columns count characters
	Path         string // "Statement[0].Condition.StringEquals"; empty when the text is no JSON
	Message      string
}

// Error returns "line 3, column 5: Statement[0].Effect: …".
func (e *SyntaxError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "line %d, column %d: ", e.Line, e.Column)
	if e.Path != "" {
		b.WriteString(e.Path)
		b.WriteString(": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

func newSyntaxError(text string, offset int, path, format string, args ...any) *SyntaxError {
	before := text[:min(offset, len(text))]
	start := strings.LastIndexByte(before, '\n') + 1
	return &SyntaxError{
		Line:    strings.Count(before, "\n") + 1,
		Column:  utf8.RuneCountInString(before[start:]) + 1,
		Path:    path,
		Message: fmt.Sprintf(format, args...),
	}
}
