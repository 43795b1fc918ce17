package run

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/sekisho/sekisho/internal/pipeline"
)

// maxPlan bounds what a plan unpacks to.
const maxPlan = 256 << 20

func pack(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func unpack(data []byte, limit int64) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(out)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return out, err
}

func packPlan(p *pipeline.Plan) ([]byte, error) {
	short := *p
	short.Expanded, short.Files, short.Warnings = nil, nil, nil
	short.Parameters = make([]pipeline.Parameter, len(p.Parameters))
	for i, x := range p.Parameters {
		short.Parameters[i] = pipeline.Parameter{Name: x.Name, DisplayName: x.DisplayName, Type: x.Type}
	}
	text, err := json.Marshal(&short)
	if err != nil {
		return nil, err
	}
	return pack(text)
}

// planCache remembers plans, which never change.
type planCache struct {
	mu    sync.Mutex
	plans map[int64]*pipeline.Plan // guarded by mu
	order []int64                  // guarded by mu
}

const cachedPlans = 128

func newPlanCache() *planCache { return &planCache{plans: map[int64]*pipeline.Plan{}} }

func (c *planCache) get(run int64) *pipeline.Plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plans[run]
}

func (c *planCache) put(run int64, p *pipeline.Plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.plans[run] != nil {
		return
	}
	if c.plans[run] = p; len(c.order) == cachedPlans {
		delete(c.plans, c.order[0])
		c.order = c.order[1:]
	}
	c.order = append(c.order, run)
}

// plan returns the plan of a run, nil if it has none because it could not begin.
func (s *Service) plan(ctx context.Context, run int64) (*pipeline.Plan, error) {
	if p := s.plans.get(run); p != nil {
		return p, nil
	}
	rows, err := s.db.Query(ctx, `SELECT plan FROM run_plans WHERE run = $1`, run)
	if err != nil {
		return nil, fmt.Errorf("read plan of run %d: %w", run, err)
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, rows.Err()
	}
	var packed []byte
	if err := rows.Scan(&packed); err != nil {
		return nil, err
	}
	text, err := unpack(packed, maxPlan)
	p := &pipeline.Plan{}
	if err == nil {
		err = json.Unmarshal(text, p)
	}
	if err != nil {
		return nil, fmt.Errorf("read plan of run %d: %w", run, err)
	}
	s.plans.put(run, p)
	return p, nil
}
