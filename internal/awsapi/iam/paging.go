package iam

import (
	"encoding/base64"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

const defaultPage = 100 // items where a request names no MaxItems

// page reads a Marker and MaxItems. A marker is the name of the last item that was given: it is as good after the server
// has started again, on another node, or when that item is gone.
func page(marker *string, maxItems *int32) (directory.Page, error) {
	p := directory.Page{Limit: defaultPage}
	if maxItems != nil {
		p.Limit = int(*maxItems)
	}
	if marker == nil {
		return p, nil
	}
	after, err := base64.RawURLEncoding.DecodeString(*marker)
	if err != nil || len(after) == 0 || !utf8.Valid(after) {
		return p, errMarker
	}
	for _, b := range after {
		if b == 0 {
			return p, errMarker
		}
	}
	p.After = string(after)
	return p, nil
}

var errMarker = &awsapi.Error{Code: "ValidationError", Message: "Invalid Marker."}

// list reads a part of a list. name is what items are sorted by. next, the Marker of what follows, is nil at the end.
func list[T any](marker *string, maxItems *int32, name func(*T) string, read func(directory.Page) ([]T, bool, error)) (
	items []T, more bool, next *string, err error,
) {
	p, err := page(marker, maxItems)
	if err != nil {
		return nil, false, nil, err
	}
	items, more, err = read(p)
	if err != nil || !more || len(items) == 0 {
		return items, false, nil, err
	}
	return items, true, markerAfter(name(&items[len(items)-1])), nil
}

// markerAfter returns the Marker of what follows a name, which page reads.
func markerAfter(last string) *string { return new(base64.RawURLEncoding.EncodeToString([]byte(last))) }

// What lists are sorted by.
func userName(u *directory.User) string              { return u.Name }
func groupName(g *directory.Group) string            { return g.Name }
func roleName(r *directory.Role) string              { return r.Name }
func profileName(p *directory.Profile) string        { return p.Name }
func policyARN(p *directory.ManagedPolicy) string    { return p.ARN }
func versionName(v *directory.PolicyVersion) string  { return v.ID }
func attachedARN(p *directory.AttachedPolicy) string { return p.ARN }
func accessKeyID(k *directory.AccessKey) string      { return k.ID }
func tagName(t *directory.Tag) string                { return t.Key }
func itself(s *string) string                        { return *s }
