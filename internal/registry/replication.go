package registry

import (
	"context"

	"github.com/sekisho/sekisho/internal/iam"
)

// Replication says which repositories' images go where when they are pushed. It is kept; what acts on it is elsewhere.
type Replication struct {
	Rules []ReplicationRule `json:"rules"`
}

// ReplicationRule is one rule of it.
type ReplicationRule struct {
	Destinations []Destination `json:"destinations"`
	Prefixes     []string      `json:"prefixes,omitempty"` // of repository names; nil: all repositories
}

// Destination is a registry of another region or another account.
type Destination struct {
	Region  string `json:"region"`
	Account string `json:"account"` // 12 digits
}

// maxDestinations is ECR's limit of different destinations in all rules together.
const maxDestinations = 25

// Replication returns a registry's configuration of replication; without one it has no rules.
func (k *Control) Replication(ctx context.Context, c *iam.Caller, account string) (*Replication, error) {
	if err := k.authorize(ctx, c, "ecr:DescribeRegistry", account); err != nil {
		return nil, err
	}
	out := &Replication{}
	return out, readDocument(ctx, k.l.db, account, documentReplication, out)
}

// PutReplication replaces the configuration; one without rules ends replication. Errors: SettingInvalid.
func (k *Control) PutReplication(ctx context.Context, c *iam.Caller, account string, r *Replication) error {
	if err := k.authorize(ctx, c, "ecr:PutReplicationConfiguration", account); err != nil {
		return err
	}
	if err := r.check(Destination{Region: k.j.Region, Account: account}); err != nil {
		return err
	}
	return k.putDocument(ctx, c, "ecr:PutReplicationConfiguration", account, documentReplication, encode(r))
}

func (r *Replication) check(self Destination) error {
	const member = "replicationConfiguration"
	all := map[Destination]bool{}
	for _, rule := range r.Rules {
		if len(rule.Destinations) == 0 {
			return errParameter(member, "Replication rule must have at least one destination")
		}
		ofRule := map[Destination]bool{}
		for _, d := range rule.Destinations {
			if d == self {
				return errParameter(member, "Replication destination cannot be the same as the source registry")
			}
			if ofRule[d] {
				return errParameter(member, "Replication destination %s in %s is in one rule twice", d.Account, d.Region)
			}
			ofRule[d], all[d] = true, true
		}
	}
	if len(all) > maxDestinations {
		return errParameter(member, "Replication configuration can have at most %d unique destinations, there are %d", maxDestinations, len(all))
	}
	return nil
}

// readDocument decodes a document into v, which stays as it is if there is none.
func readDocument(ctx context.Context, q reader, account, kind string, v any) error {
	text, err := document(ctx, q, account, kind)
	if err != nil || text == "" {
		return err
	}
	return decode(kind+" of a registry", text, v)
}
