package registry

import (
	"context"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
)

// Scan types, and how often repositories are scanned, as ECR spells them.
const (
	ScanBasic    = "BASIC"
	ScanEnhanced = "ENHANCED"

	ScanManual       = "MANUAL"
	ScanOnPushed     = "SCAN_ON_PUSH"
	ScanContinuously = "CONTINUOUS_SCAN"
)

// Scanning says which repositories' images are scanned, and when. It is kept; what acts on it is elsewhere.
type Scanning struct {
	Type  string     `json:"type"`
	Rules []ScanRule `json:"rules"`
}

// ScanRule is one rule of it.
type ScanRule struct {
	Frequency string   `json:"frequency"`
	Filters   []string `json:"filters"` // of repository names, see Of
}

// Scanning returns a registry's configuration of scanning; by default it is basic and has no rules.
func (k *Control) Scanning(ctx context.Context, c *iam.Caller, account string) (*Scanning, error) {
	if err := k.authorize(ctx, c, "ecr:GetRegistryScanningConfiguration", account); err != nil {
		return nil, err
	}
	return k.l.Scanning(ctx, account)
}

// Scanning returns a registry's configuration of scanning, for the registry's own use: nobody is asked.
func (l *Local) Scanning(ctx context.Context, account string) (*Scanning, error) {
	out := &Scanning{Type: ScanBasic}
	return out, readDocument(ctx, l.db, account, documentScanning, out)
}

// PutScanning replaces the configuration. Errors: SettingInvalid.
func (k *Control) PutScanning(ctx context.Context, c *iam.Caller, account string, s *Scanning) error {
	if err := k.authorize(ctx, c, "ecr:PutRegistryScanningConfiguration", account); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	return k.putDocument(ctx, c, "ecr:PutRegistryScanningConfiguration", account, documentScanning, encode(s))
}

// check holds the rules against the scan type (API_PutRegistryScanningConfiguration, "scanType").
func (s *Scanning) check() error {
	seen := map[string]bool{}
	for _, r := range s.Rules {
		switch {
		case s.Type == ScanBasic && r.Frequency == ScanContinuously:
			return errParameter("rules", "Scan frequency %s is not supported with scan type %s", r.Frequency, s.Type)
		case s.Type == ScanEnhanced && r.Frequency == ScanManual:
			return errParameter("rules", "Scan frequency %s is not supported with scan type %s", r.Frequency, s.Type)
		case seen[r.Frequency]:
			return errParameter("rules", "There can be at most one rule with scan frequency %s", r.Frequency)
		}
		seen[r.Frequency] = true
	}
	return nil
}

// Of returns how often a repository's images are scanned, and the filters that say so. The most eager rule wins. Without
// one it is what the repository says of itself: scanOnPush is its own setting, which counts where scanning is basic.
func (s *Scanning) Of(repository string, scanOnPush bool) (frequency string, applied []string) {
	for _, f := range []string{ScanContinuously, ScanOnPushed, ScanManual} {
		for _, r := range s.Rules {
			if r.Frequency != f {
				continue
			}
			for _, filter := range r.Filters {
				if matchScanFilter(filter, repository) {
					applied = append(applied, filter)
				}
			}
			if applied != nil {
				return f, applied
			}
		}
	}
	if scanOnPush && s.Type == ScanBasic {
		return ScanOnPushed, nil
	}
	return ScanManual, nil
}

// matchScanFilter reports whether a filter means a repository: without a wildcard it does if it is in the name anywhere
// (user guide, "Using filters").
func matchScanFilter(filter, repository string) bool {
	if !strings.Contains(filter, "*") {
		return strings.Contains(repository, filter)
	}
	return matchWildcard(filter, repository)
}
