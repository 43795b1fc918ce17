package directory

import (
	"context"

	"github.com/sekisho/sekisho/internal/iam"
)

// May checks a permission for what no other call here does, on a thing, which must be there, or, where on is the zero Ref,
// on the account as a whole. A root caller who names no user means itself.
func (s *Service) May(ctx context.Context, c *iam.Caller, action string, on Ref) error {
	if on == (Ref{}) || on == UserNamed("") && c != nil && c.Type == iam.Root {
		return s.on(ctx, c, action, "*")
	}
	_, err := s.show(ctx, c, on, action)
	return err
}
