package project

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	maxVariables = 500      // of a pipeline or a group
	maxValue     = 64 << 10 // bytes
)

// Variable is a variable of a pipeline or a group.
type Variable struct {
	Name  string
	Value string // of a secret one empty, but for a job that is handed out
	// Secret ones are masked in logs, are in no environment by themselves, and nobody gets their value back.
	Secret   bool
	Settable bool // of pipelines: whoever starts a run may give it another value
}

// check refuses what no variable can be.
func (v *Variable) check() error {
	if !variableName.MatchString(v.Name) || strings.HasSuffix(v.Name, " ") {
		return errorf(Invalid, "name", "%.80q is no name of a variable: it has letters, digits, dots, underscores, dashes and spaces within", v.Name)
	}
	// https://learn.microsoft.com/azure/devops/pipelines/process/variables: "Don't use variable prefixes reserved by the system".
	for _, prefix := range []string{"endpoint", "input", "secret", "securefile"} {
		if rest, ok := strings.CutPrefix(fold(v.Name), prefix); ok && (rest == "" || strings.ContainsAny(rest[:1], "_.")) {
			return errorf(Invalid, "name", "names that begin with %s are the system's: %s", prefix, v.Name)
		}
	}
	switch {
	case len(v.Value) > maxValue:
		return errorf(Invalid, "value", "the value of %s has %d bytes, and may have %d", v.Name, len(v.Value), maxValue)
	case !utf8.ValidString(v.Value) || strings.Contains(v.Value, "\x00"):
		return errorf(Invalid, "value", "the value of %s is not text", v.Name)
	case v.Secret && strings.ContainsAny(v.Value, "\r\n"):
		return errorf(Invalid, "value", "the secret %s has more than one line, and a log has lines: what is masked there is a line; encode it, in base64 for one, and decode it where it is used", v.Name)
	case v.Secret && v.Value == "":
		return errorf(Invalid, "value", "the secret %s has no value", v.Name)
	}
	return nil
}

func scanVariable(row scanner) (*Variable, error) {
	var v Variable
	return &v, row.Scan(&v.Name, &v.Value, &v.Secret, &v.Settable)
}

// variables returns those of a pipeline or a group by name. Open says whether secrets get their value.
func (s *Service) variables(ctx context.Context, owner string, open bool) ([]Variable, error) {
	all, err := collect(ctx, s.db, scanVariable, `SELECT name, value, secret, settable FROM project_variables WHERE owner = $1 ORDER BY folded`, owner)
	if err != nil || !open {
		return all, err
	}
	secrets, err := s.openSecrets(ctx, owner)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Secret {
			all[i].Value = secrets[fold(all[i].Name)]
		}
	}
	return all, nil
}

// openSecrets returns the secrets of a pipeline, a group or a connection.
func (s *Service) openSecrets(ctx context.Context, owner string) (map[string]string, error) {
	type sealed struct {
		name  string
		value []byte
	}
	rows, err := collect(ctx, s.db, func(row scanner) (*sealed, error) {
		var x sealed
		return &x, row.Scan(&x.name, &x.value)
	}, `SELECT name, value FROM project_secrets WHERE owner = $1 ORDER BY name`, owner)
	if err != nil {
		return nil, err
	}
	all := make(map[string]string, len(rows))
	for _, x := range rows {
		value, err := s.ring.Open(ctx, s.db, seal.ProjectSecrets(), x.value, owner, x.name)
		if err != nil {
			return nil, err
		}
		all[x.name] = string(value)
	}
	return all, nil
}

func (s *Service) putSecret(ctx context.Context, tx *meta.Tx, project, owner, name, value string) error {
	sealed, err := s.ring.Seal(ctx, tx, seal.ProjectSecrets(), []byte(value), owner, name)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO project_secrets (owner, name, project_id, value) VALUES ($1, $2, $3, $4)
		ON CONFLICT (owner, name) DO UPDATE SET value = excluded.value`, owner, name, project, sealed)
	return err
}

func dropSecret(ctx context.Context, tx *meta.Tx, owner, name string) error {
	_, err := tx.Exec(ctx, `DELETE FROM project_secrets WHERE owner = $1 AND name = $2`, owner, name)
	return err
}

// setVariable sets a variable of what is found.
func (s *Service) setVariable(ctx context.Context, c *iam.Caller, action string, it *item, h *head, v Variable) error {
	if err := v.check(); err != nil {
		return err
	}
	detail := "variable " + v.Name
	if v.Secret {
		detail = "secret variable " + v.Name
	}
	return s.update(ctx, c, action, h.arn, detail, func(tx *meta.Tx) error {
		if err := touch(ctx, s, tx, it, h); err != nil {
			return err
		}
		var count int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM project_variables WHERE owner = $1 AND folded <> $2`, h.id, fold(v.Name)).Scan(&count); err != nil {
			return err
		}
		if count >= maxVariables {
			return errorf(Limit, "", "the %s %s has %d variables, and can have no more", it.noun, h.name, count)
		}
		value := v.Value
		if v.Secret {
			value = ""
			if err := s.putSecret(ctx, tx, h.project.ID, h.id, fold(v.Name), v.Value); err != nil {
				return err
			}
		} else if err := dropSecret(ctx, tx, h.id, fold(v.Name)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO project_variables (project_id, owner, folded, name, value, secret, settable) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (owner, folded) DO UPDATE SET name = excluded.name, value = excluded.value, secret = excluded.secret, settable = excluded.settable`,
			h.project.ID, h.id, fold(v.Name), v.Name, value, number(v.Secret), number(v.Settable))
		return err
	})
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// touch makes sure that a thing is still there, until the transaction ends, and says that it was changed.
func touch(ctx context.Context, s *Service, tx *meta.Tx, it *item, h *head) error {
	res, err := tx.Exec(ctx, `UPDATE `+it.table+` SET updated_at = $1 WHERE id = $2 AND name = $3`, s.now().UnixMicro(), h.id, h.name)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = errorf(Conflict, "", "the %s %s was changed by others at the same time; try again", it.noun, h.name)
	}
	return err
}

func (s *Service) deleteVariable(ctx context.Context, c *iam.Caller, action string, it *item, h *head, name string) error {
	return s.update(ctx, c, action, h.arn, "no variable "+clip(name), func(tx *meta.Tx) error {
		if err := touch(ctx, s, tx, it, h); err != nil {
			return err
		}
		if err := dropSecret(ctx, tx, h.id, fold(name)); err != nil {
			return err
		}
		res, err := tx.Exec(ctx, `DELETE FROM project_variables WHERE owner = $1 AND folded = $2`, h.id, fold(name))
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err == nil && n == 0 {
			err = errorf(NotFound, "", "the %s %s has no variable %.80q", it.noun, h.name, name)
		}
		return err
	})
}

func clip(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// PipelineVariables returns the variables of a pipeline, secret ones without their value. Errors: *iam.DeniedError;
// [*Error] of kind NotFound.
func (s *Service) PipelineVariables(ctx context.Context, c *iam.Caller, projectRef, ref string) ([]Variable, error) {
	h, err := s.at(ctx, orNobody(c), "DescribePipeline", projectRef, pipelineItem, ref)
	if err != nil {
		return nil, err
	}
	return s.variables(ctx, h.id, false)
}

// SetPipelineVariable sets a variable of a pipeline. Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid, Limit.
func (s *Service) SetPipelineVariable(ctx context.Context, c *iam.Caller, projectRef, ref string, v Variable) error {
	c = orNobody(c)
	h, err := s.at(ctx, c, "UpdatePipeline", projectRef, pipelineItem, ref)
	if err != nil {
		return err
	}
	return s.setVariable(ctx, c, "UpdatePipeline", pipelineItem, h, v)
}

// DeletePipelineVariable removes a variable of a pipeline. Errors: *iam.DeniedError; [*Error] of kind NotFound.
func (s *Service) DeletePipelineVariable(ctx context.Context, c *iam.Caller, projectRef, ref, name string) error {
	c = orNobody(c)
	h, err := s.at(ctx, c, "UpdatePipeline", projectRef, pipelineItem, ref)
	if err != nil {
		return err
	}
	return s.deleteVariable(ctx, c, "UpdatePipeline", pipelineItem, h, name)
}

// Variables returns the variables of a pipeline, for other parts of the server: it decides nothing. With open, which is for a
// job that is handed out, secret ones have their value.
func (s *Service) Variables(ctx context.Context, pipelineID string, open bool) ([]Variable, error) {
	return s.variables(ctx, pipelineID, open)
}
