package directory

import "context"

// Document returns the default version of a managed policy of an account, or of AWS, that a session can be begun with; ""
// if there is none. It decides nothing.
func (s *Service) Document(ctx context.Context, account, arn string) (string, error) {
	r, err := attachable(ctx, s.db, account, arn)
	if err != nil || r == nil {
		return "", err
	}
	document, _, err := defaultDocument(ctx, s.db, r)
	return document, err
}

// defaultDocument returns the default version of a managed policy, and whether it is there.
func defaultDocument(ctx context.Context, q querier, r *row) (document string, there bool, err error) {
	versions, err := versionsOf(ctx, q, r)
	if err != nil {
		return "", false, err
	}
	for _, v := range versions {
		if v.n == r.version {
			return v.document, true, nil
		}
	}
	return "", false, nil
}
