package directory

import (
	"context"
)

// Document returns the default version of a managed policy of an account, or of AWS, that a session can be begun with; ""
// if there is none. It decides nothing.
func (s *Service) Document(ctx context.Context, account, arn string) (string, error) {
	r, err := attachable(ctx, s.db, account, arn)
	if err != nil || r == nil {
		return "", err
	}
	versions, err := versionsOf(ctx, s.db, r)
	if err != nil {
		return "", err
	}
	for _, v := range versions {
		if v.n == r.version {
			return v.document, nil
		}
	}
	return "", nil
}
