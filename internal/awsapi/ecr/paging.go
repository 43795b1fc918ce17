package ecr

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

const (
	defaultPage = 100 // results where a request names no maxResults
	maxToken    = 1 << 10
)

// page is where a list goes on. It names content and no row numbers, so that what comes and goes in between neither
// repeats nor hides anything else.
type page struct {
	After string `json:"a"`
	// Tag, in lists of tags, is the last one given of the image After, which may have more.
	Tag string `json:"t,omitempty"`
}

func (p page) token() *string {
	b, err := json.Marshal(p)
	if err != nil { // two strings: cannot fail
		panic(err)
	}
	return new(base64.RawURLEncoding.EncodeToString(b))
}

func parsePage(token *string) (page, error) {
	var p page
	if token == nil {
		return p, nil
	}
	if len(*token) <= maxToken {
		if b, err := base64.RawURLEncoding.DecodeString(*token); err == nil && json.Unmarshal(b, &p) == nil && p.After != "" && !strings.Contains(p.After, "\x00") {
			return p, nil
		}
	}
	return page{}, invalid("nextToken", "must be the nextToken of an earlier answer")
}

func pageSize(maxResults *int32) int {
	if maxResults == nil {
		return defaultPage
	}
	return int(*maxResults)
}
