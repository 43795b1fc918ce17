package run

import "context"

// Remove deletes a run as retention does, which looked at it a moment ago.
func (s *Service) Remove(ctx context.Context, id int64) error { return s.remove(ctx, nil, id) }
