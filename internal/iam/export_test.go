package iam

// MakeBearer makes up a token of the right form.
func MakeBearer(prefix string) string {
	text, _ := newBearer(prefix)
	return text
}

// ParseBearer is parseBearer.
func ParseBearer(text string) (id string, ok bool) { return parseBearer(text) }
