package project

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/secret"
)

// VariableGroup is a set of variables that pipelines name.
type VariableGroup struct {
	ID          string // UUID
	ProjectID   string
	Name        string
	Description string
	// Secret is the name or ARN of a secret that is a JSON object, whose members are secret variables of the group too; "" for
	// none. Variables of the group itself win over them.
	Secret    string
	Variables []Variable // nil in lists
	Created   time.Time
	Updated   time.Time
}

// NewGroup is a variable group to be made.
type NewGroup struct{ Name, Description, Secret string }

// GroupEdit is a change of a variable group. What is nil stays.
type GroupEdit struct{ Description, Secret *string }

const groupColumns = `id, project_id, name, description, secret, created_at, updated_at`

func scanGroup(row scanner) (*VariableGroup, error) {
	var g VariableGroup
	var created, updated int64
	err := row.Scan(&g.ID, &g.ProjectID, &g.Name, &g.Description, &g.Secret, &created, &updated)
	g.Created, g.Updated = moment(created), moment(updated)
	return &g, err
}

// CreateGroup makes a variable group without variables of its own. Whoever links it to a secret must be allowed to read that.
// Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid, Exists, Limit.
func (s *Service) CreateGroup(ctx context.Context, c *iam.Caller, projectRef string, n NewGroup) (*VariableGroup, error) {
	c = orNobody(c)
	h, err := s.within(ctx, c, "CreateVariableGroup", projectRef, groupItem, n.Name)
	if err != nil {
		return nil, err
	}
	if err := checkText("description", n.Description, maxDescription); err != nil {
		return nil, err
	}
	if err := s.mayLink(ctx, c, n.Secret); err != nil {
		return nil, err
	}
	g := &VariableGroup{ID: h.id, ProjectID: h.project.ID, Name: n.Name, Description: n.Description, Secret: n.Secret, Created: s.now()}
	g.Updated = g.Created
	err = s.update(ctx, c, "CreateVariableGroup", h.arn, g.ID, func(tx *meta.Tx) error {
		if err := room(ctx, tx, h, groupItem); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO variable_groups (`+groupColumns+`, folded) VALUES ($1, $2, $3, $4, $5, $6, $6, $7)`,
			g.ID, g.ProjectID, g.Name, g.Description, g.Secret, g.Created.UnixMicro(), fold(g.Name))
		return err
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// mayLink checks that a caller may read a secret, and that it has variables.
func (s *Service) mayLink(ctx context.Context, c *iam.Caller, ref string) error {
	if ref == "" {
		return nil
	}
	if s.o.Secrets == nil {
		return errorf(Invalid, "secret", "this server keeps no secrets to link to")
	}
	_, err := s.members(ctx, c, ref)
	return err
}

// members returns the members of a secret that is a JSON object. Those that are no strings are left as JSON.
func (s *Service) members(ctx context.Context, c *iam.Caller, ref string) (map[string]string, error) {
	value, err := s.o.Secrets.Value(ctx, c, ref)
	if e, ok := errors.AsType[*secret.Error](err); ok {
		return nil, errorf(Invalid, "secret", "%s", e.Message)
	}
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if value.IsBinary() || json.Unmarshal(value.Reveal(), &object) != nil || object == nil {
		return nil, errorf(Invalid, "secret", "the secret %.80q is not a JSON object, whose members could be variables", ref)
	}
	members := make(map[string]string, len(object))
	for name, raw := range object {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		if !variableName.MatchString(name) {
			return nil, errorf(Invalid, "secret", "the secret %.80q has a member whose name is no name of a variable", ref)
		}
		members[name] = text
	}
	return members, nil
}

// DescribeGroup returns a variable group with its variables, secret ones without their value. Those of a linked secret are
// not told. Errors: *iam.DeniedError; [*Error] of kind NotFound.
func (s *Service) DescribeGroup(ctx context.Context, c *iam.Caller, projectRef, ref string) (*VariableGroup, error) {
	h, err := s.at(ctx, orNobody(c), "DescribeVariableGroup", projectRef, groupItem, ref)
	if err != nil {
		return nil, err
	}
	return s.group(ctx, h.id, false)
}

func (s *Service) group(ctx context.Context, id string, open bool) (*VariableGroup, error) {
	g, err := one(scanGroup, s.db.QueryRow(ctx, `SELECT `+groupColumns+` FROM variable_groups WHERE id = $1`, id))
	if err != nil {
		return nil, err
	}
	if g == nil {
		return nil, noSuch("variable group", id)
	}
	g.Variables, err = s.variables(ctx, id, open)
	return g, err
}

// UpdateGroup changes a variable group. Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid, Conflict.
func (s *Service) UpdateGroup(ctx context.Context, c *iam.Caller, projectRef, ref string, e GroupEdit) (*VariableGroup, error) {
	c = orNobody(c)
	h, err := s.at(ctx, c, "UpdateVariableGroup", projectRef, groupItem, ref)
	if err != nil {
		return nil, err
	}
	detail := ""
	if e.Description != nil {
		if err := checkText("description", *e.Description, maxDescription); err != nil {
			return nil, err
		}
	}
	if e.Secret != nil {
		if err := s.mayLink(ctx, c, *e.Secret); err != nil {
			return nil, err
		}
		detail = "linked to secret " + *e.Secret
	}
	err = s.update(ctx, c, "UpdateVariableGroup", h.arn, detail, func(tx *meta.Tx) error {
		if err := touch(ctx, s, tx, groupItem, h); err != nil {
			return err
		}
		if e.Description != nil {
			if _, err := tx.Exec(ctx, `UPDATE variable_groups SET description = $1 WHERE id = $2`, *e.Description, h.id); err != nil {
				return err
			}
		}
		if e.Secret != nil {
			if _, err := tx.Exec(ctx, `UPDATE variable_groups SET secret = $1 WHERE id = $2`, *e.Secret, h.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.group(ctx, h.id, false)
}

// DeleteGroup deletes a variable group. Errors: *iam.DeniedError; [*Error] of kind NotFound.
func (s *Service) DeleteGroup(ctx context.Context, c *iam.Caller, projectRef, ref string) error {
	c = orNobody(c)
	h, err := s.at(ctx, c, "DeleteVariableGroup", projectRef, groupItem, ref)
	if err != nil {
		return err
	}
	return s.remove(ctx, c, "DeleteVariableGroup", groupItem, KindGroup, h)
}

// ListGroups lists the variable groups of a project by name, without variables. Errors: *iam.DeniedError; [*Error] of kind
// NotFound, Invalid.
func (s *Service) ListGroups(ctx context.Context, c *iam.Caller, projectRef string, page Page) ([]VariableGroup, string, error) {
	_, list, next, err := items(ctx, s, c, projectRef, groupItem, groupColumns, scanGroup, func(g *VariableGroup) string { return g.Name }, page)
	return list, next, err
}

// SetGroupVariable sets a variable of a group. Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid, Limit.
func (s *Service) SetGroupVariable(ctx context.Context, c *iam.Caller, projectRef, ref string, v Variable) error {
	c = orNobody(c)
	h, err := s.at(ctx, c, "UpdateVariableGroup", projectRef, groupItem, ref)
	if err != nil {
		return err
	}
	v.Settable = false
	return s.setVariable(ctx, c, "UpdateVariableGroup", groupItem, h, v)
}

// DeleteGroupVariable removes a variable of a group. Errors: *iam.DeniedError; [*Error] of kind NotFound.
func (s *Service) DeleteGroupVariable(ctx context.Context, c *iam.Caller, projectRef, ref, name string) error {
	c = orNobody(c)
	h, err := s.at(ctx, c, "UpdateVariableGroup", projectRef, groupItem, ref)
	if err != nil {
		return err
	}
	return s.deleteVariable(ctx, c, "UpdateVariableGroup", groupItem, h, name)
}

// Group returns a variable group for a job, if its pipeline is authorised to use it. With open, which is for a job that is
// handed out, secret variables have their value, and the use is recorded; without, they have none. A job from outside gets
// the variables that are no secrets, and the names of those that are. Errors: [ErrNotFound], [*NotAuthorizedError].
func (s *Service) Group(ctx context.Context, j Job, name string, open bool) (*VariableGroup, error) {
	h, err := s.usable(ctx, j.Identity.PipelineID, Use{Kind: KindGroup, Name: name})
	if err != nil {
		return nil, err
	}
	open = open && !j.Untrusted
	g, err := s.group(ctx, h.id, open)
	if err != nil {
		return nil, err
	}
	if g.Secret != "" && s.o.Secrets != nil {
		members, err := s.members(ctx, iam.SystemCaller(h.project.Account, "pipelines"), g.Secret)
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(members)) {
			if slices.ContainsFunc(g.Variables, func(v Variable) bool { return fold(v.Name) == fold(name) }) {
				continue
			}
			v := Variable{Name: name, Secret: true}
			if open {
				v.Value = members[name]
			}
			g.Variables = append(g.Variables, v)
		}
	}
	if open {
		err = s.used(ctx, j, "UseVariableGroup", h)
	}
	return g, err
}
