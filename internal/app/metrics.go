package app

import (
	"context"

	"github.com/sekisho/sekisho/internal/observe/metrics"
	"github.com/sekisho/sekisho/internal/registry/ociserver"
)

// measure makes the metrics of the instance and returns what counts its requests.
func (in *Instance) measure(version string) (*metrics.Metrics, *metrics.HTTP) {
	m := metrics.New(version, in.Log)
	operations := []string{"Health", "Metrics"}
	seen := map[string]bool{}
	for _, r := range ociserver.Routes {
		if !seen[r.Operation] {
			seen[r.Operation] = true
			operations = append(operations, r.Operation)
		}
	}
	m.Add(metrics.Family{
		Name: "sekisho_stored_bytes", Help: "Bytes of all blobs, each content once; up to a minute old.",
		Read: func(ctx context.Context, set func(float64, ...string)) error {
			s, err := in.Local.Stats(ctx)
			set(float64(s.BlobBytes))
			return err
		},
	})
	m.Add(metrics.Family{
		Name: "sekisho_objects", Help: "What is stored, by kind; up to a minute old.", Labels: []string{"kind"},
		Read: func(ctx context.Context, set func(float64, ...string)) error {
			s, err := in.Local.Stats(ctx)
			set(float64(s.Repositories), "repository")
			set(float64(s.Manifests), "manifest")
			set(float64(s.Blobs), "blob")
			return err
		},
	})
	m.Add(metrics.Family{
		Name: "sekisho_jobs", Help: "Jobs that wait (queued), run, or failed for good (dead), by kind.", Labels: []string{"kind", "state"},
		Read: func(ctx context.Context, set func(float64, ...string)) error {
			counts, err := in.Jobs.Counts(ctx)
			for _, c := range counts {
				set(float64(c.N), c.Kind, string(c.State))
			}
			return err
		},
	})
	m.Func("sekisho_audit_lost_total", "Audit events that there was no room for.", true, func() float64 { return float64(in.Audit.LostTotal()) })
	return m, m.HTTP(operations...)
}
