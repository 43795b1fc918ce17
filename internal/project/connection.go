package project

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

const (
	maxParameter = 16 << 10 // bytes
	maxData      = 50
)

// Connection is a service connection: how jobs get at something elsewhere. Its secrets are stored and not shown.
type Connection struct {
	ID          string // UUID
	ProjectID   string
	Name        string
	Type        string
	Description string
	URL         string
	Scheme      string
	Parameters  map[string]string // without secrets
	Secrets     []string          // names of the secret parameters that have a value
	Data        map[string]string
	Created     time.Time
	Updated     time.Time
}

// NewConnection is a service connection to be made.
type NewConnection struct {
	Name, Type, Description, URL string
	Scheme                       string            // "": the type's first
	Parameters                   map[string]string // secret ones too
	Data                         map[string]string
	AllPipelines                 bool // of the project may use it
}

// ConnectionEdit is a change of a service connection. What is nil stays; in the maps what is not named stays, and "" takes
// away. Its type stays. When it is to lead elsewhere, its secrets must be given again.
type ConnectionEdit struct {
	Description, URL, Scheme *string
	Parameters, Data         map[string]string
}

const connectionColumns = `id, project_id, name, type, description, url, scheme, parameters, data, created_at, updated_at`

func scanConnection(row scanner) (*Connection, error) {
	var c Connection
	var parameters, data string
	var created, updated int64
	err := row.Scan(&c.ID, &c.ProjectID, &c.Name, &c.Type, &c.Description, &c.URL, &c.Scheme, &parameters, &data, &created, &updated)
	if err == nil {
		err = json.Unmarshal([]byte(parameters), &c.Parameters)
	}
	if err == nil {
		err = json.Unmarshal([]byte(data), &c.Data)
	}
	c.Created, c.Updated = moment(created), moment(updated)
	return &c, err
}

// draft is a connection on its way into the database.
type draft struct {
	*Connection
	secrets map[string]string // by folded name; "": it goes
}

// set puts parameters where they belong, by their own names.
func (d *draft) set(scheme *Scheme, parameters map[string]string) error {
	for name, value := range parameters {
		f := field(scheme.Parameters, name)
		switch {
		case f == nil:
			return errorf(Invalid, "parameters."+clip(name), "a %s connection with %s has no such parameter", d.Type, scheme.Name)
		case len(value) > maxParameter || !utf8.ValidString(value) || strings.ContainsAny(value, "\x00\r\n"):
			return errorf(Invalid, "parameters."+f.Name, "it is not one line of text of at most %d bytes", maxParameter)
		case f.Secret:
			d.secrets[fold(f.Name)] = value
		case value == "":
			delete(d.Parameters, f.Name)
		default:
			d.Parameters[f.Name] = value
		}
	}
	return nil
}

func (d *draft) setData(t *ConnectionType, data map[string]string) error {
	for name, value := range data {
		f := field(t.Data, name)
		switch {
		case f != nil:
			name = f.Name
		case !t.AnyData || !variableName.MatchString(name) || len(name) > 64:
			return errorf(Invalid, "data."+clip(name), "a %s connection has no such data", d.Type)
		}
		if err := checkText("data."+name, value, 4096); err != nil {
			return err
		}
		if value == "" {
			delete(d.Data, name)
			continue
		}
		d.Data[name] = value
	}
	if len(d.Data) > maxData {
		return errorf(Invalid, "data", "a connection has at most %d of them", maxData)
	}
	return nil
}

// check refuses what no connection can be. has says which secrets there will be.
func (d *draft) check(t *ConnectionType, scheme *Scheme, has func(name string) bool) error {
	switch u, err := url.Parse(d.URL); {
	case d.URL == "" && t.NeedURL:
		return errorf(Invalid, "url", "a %s connection needs a URL: %s", t.Name, t.URL)
	case d.URL == "":
	case t.URL == "":
		return errorf(Invalid, "url", "a %s connection has no URL", t.Name)
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(d.URL) > 2048:
		return errorf(Invalid, "url", "it is no http or https URL without a user and a password, which are parameters")
	}
	for i := range scheme.Parameters {
		f := &scheme.Parameters[i]
		if f.Required && !(f.Secret && has(fold(f.Name))) && !(!f.Secret && d.Parameters[f.Name] != "") {
			return errorf(Invalid, "parameters."+f.Name, "it is missing: %s", f.Label)
		}
	}
	return checkText("description", d.Description, maxDescription)
}

// CreateConnection makes a service connection. Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid, Exists, Limit.
func (s *Service) CreateConnection(ctx context.Context, c *iam.Caller, projectRef string, n NewConnection) (*Connection, error) {
	c = orNobody(c)
	h, err := s.within(ctx, c, "CreateConnection", projectRef, connectionItem, n.Name)
	if err != nil {
		return nil, err
	}
	if n.AllPipelines {
		if err := s.check(ctx, c, "AuthorizePipeline", h.arn, nil); err != nil {
			return nil, err
		}
	}
	t := connectionType(n.Type)
	if t == nil {
		return nil, errorf(Invalid, "type", "%.40q is no type of service connections; there are %s", n.Type, typeNames())
	}
	scheme := t.scheme(n.Scheme)
	if scheme == nil {
		return nil, errorf(Invalid, "scheme", "a %s connection has no scheme %.40q", t.Name, n.Scheme)
	}
	d := &draft{secrets: map[string]string{}, Connection: &Connection{
		ID: h.id, ProjectID: h.project.ID, Name: n.Name, Type: t.Name, Description: n.Description, URL: n.URL, Scheme: scheme.Name,
		Parameters: map[string]string{}, Data: map[string]string{}, Created: s.now(),
	}}
	d.Updated = d.Created
	if err := d.set(scheme, n.Parameters); err != nil {
		return nil, err
	}
	if err := d.setData(t, n.Data); err != nil {
		return nil, err
	}
	if err := d.check(t, scheme, func(name string) bool { return d.secrets[name] != "" }); err != nil {
		return nil, err
	}
	err = s.update(ctx, c, "CreateConnection", h.arn, d.ID+" "+d.Type, func(tx *meta.Tx) error {
		if err := room(ctx, tx, h, connectionItem); err != nil {
			return err
		}
		parameters, data, err := d.texts()
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO service_connections (`+connectionColumns+`, folded) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11)`,
			d.ID, d.ProjectID, d.Name, d.Type, d.Description, d.URL, d.Scheme, parameters, data, d.Created.UnixMicro(), fold(d.Name)); err != nil {
			return err
		}
		if n.AllPipelines {
			if err := permit(ctx, tx, h.project.ID, KindConnection, d.ID, "", c.Who(), d.Created); err != nil {
				return err
			}
		}
		return s.putSecrets(ctx, tx, d)
	})
	if err != nil {
		return nil, err
	}
	return s.connection(ctx, d.ID)
}

func typeNames() string {
	var names []string
	for _, t := range ConnectionTypes() {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}

func (d *draft) texts() (parameters, data string, err error) {
	p, err := json.Marshal(d.Parameters)
	if err != nil {
		return "", "", err
	}
	q, err := json.Marshal(d.Data)
	return string(p), string(q), err
}

func (s *Service) putSecrets(ctx context.Context, tx *meta.Tx, d *draft) error {
	for name, value := range d.secrets {
		var err error
		if value == "" {
			err = dropSecret(ctx, tx, d.ID, name)
		} else {
			err = s.putSecret(ctx, tx, d.ProjectID, d.ID, name, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// connection returns a connection with the names of its secrets.
func (s *Service) connection(ctx context.Context, id string) (*Connection, error) {
	return s.readConnection(ctx, s.db, id, "")
}

func (s *Service) readConnection(ctx context.Context, q querier, id, lock string) (*Connection, error) {
	x, err := one(scanConnection, q.QueryRow(ctx, `SELECT `+connectionColumns+` FROM service_connections WHERE id = $1`+lock, id))
	if err == nil && x == nil {
		err = noSuch("service connection", id)
	}
	if err != nil {
		return nil, err
	}
	names, err := collect(ctx, q, func(row scanner) (*string, error) {
		var name string
		return &name, row.Scan(&name)
	}, `SELECT name FROM project_secrets WHERE owner = $1 ORDER BY name`, id)
	if err != nil {
		return nil, err
	}
	t := connectionType(x.Type)
	for _, name := range names {
		if t != nil {
			if scheme := t.scheme(x.Scheme); scheme != nil {
				if f := field(scheme.Parameters, name); f != nil {
					name = f.Name
				}
			}
		}
		x.Secrets = append(x.Secrets, name)
	}
	return x, nil
}

// DescribeConnection returns a service connection by name or id, without its secrets. Errors: *iam.DeniedError; [*Error] of
// kind NotFound.
func (s *Service) DescribeConnection(ctx context.Context, c *iam.Caller, projectRef, ref string) (*Connection, error) {
	h, err := s.at(ctx, orNobody(c), "DescribeConnection", projectRef, connectionItem, ref)
	if err != nil {
		return nil, err
	}
	return s.connection(ctx, h.id)
}

// UpdateConnection changes a service connection. Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid.
func (s *Service) UpdateConnection(ctx context.Context, c *iam.Caller, projectRef, ref string, e ConnectionEdit) (*Connection, error) {
	c = orNobody(c)
	h, err := s.at(ctx, c, "UpdateConnection", projectRef, connectionItem, ref)
	if err != nil {
		return nil, err
	}
	err = s.update(ctx, c, "UpdateConnection", h.arn, "", func(tx *meta.Tx) error {
		x, err := s.readConnection(ctx, tx, h.id, forUpdate(tx))
		if err != nil {
			return err
		}
		d := &draft{Connection: x, secrets: map[string]string{}}
		if err := d.apply(&e); err != nil {
			return err
		}
		d.Updated = s.now()
		parameters, data, err := d.texts()
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE service_connections SET description = $1, url = $2, scheme = $3, parameters = $4, data = $5, updated_at = $6 WHERE id = $7`,
			d.Description, d.URL, d.Scheme, parameters, data, d.Updated.UnixMicro(), d.ID); err != nil {
			return err
		}
		return s.putSecrets(ctx, tx, d)
	})
	if err != nil {
		return nil, err
	}
	return s.connection(ctx, h.id)
}

// apply changes a connection that has secrets.
func (d *draft) apply(e *ConnectionEdit) error {
	t := connectionType(d.Type)
	if t == nil {
		return errorf(Conflict, "", "the connection is of type %s, which this server does not know", d.Type)
	}
	url, before := d.URL, maps.Clone(d.Parameters)
	if e.Description != nil {
		d.Description = *e.Description
	}
	if e.URL != nil {
		d.URL = *e.URL
	}
	scheme := t.scheme(d.Scheme)
	elsewhere := d.URL != url
	if e.Scheme != nil {
		next := t.scheme(*e.Scheme)
		if next == nil {
			return errorf(Invalid, "scheme", "a %s connection has no scheme %.40q", t.Name, *e.Scheme)
		}
		if next.Name != d.Scheme { // other parameters, and none of the old ones
			elsewhere, d.Parameters, d.Scheme = true, map[string]string{}, next.Name
		}
		scheme = next
	}
	if scheme == nil {
		return errorf(Conflict, "", "the connection has the scheme %s, which this server does not know", d.Scheme)
	}
	if err := d.set(scheme, e.Parameters); err != nil {
		return err
	}
	if err := d.setData(t, e.Data); err != nil {
		return err
	}
	for i := range scheme.Parameters {
		if f := &scheme.Parameters[i]; f.Where && d.Parameters[f.Name] != before[f.Name] {
			elsewhere = true
		}
	}
	if elsewhere {
		for _, name := range d.Secrets {
			if _, given := d.secrets[fold(name)]; given {
				continue
			}
			if e.Scheme != nil && field(scheme.Parameters, name) == nil {
				d.secrets[fold(name)] = "" // of the old scheme
				continue
			}
			return errorf(Invalid, "parameters."+name, "the connection is to lead elsewhere, and its secrets were given for where it leads now: give them again")
		}
	}
	return d.check(t, scheme, func(name string) bool {
		if value, given := d.secrets[name]; given {
			return value != ""
		}
		for _, there := range d.Secrets {
			if fold(there) == name {
				return true
			}
		}
		return false
	})
}

// DeleteConnection deletes a service connection with its secrets. Errors: *iam.DeniedError; [*Error] of kind NotFound.
func (s *Service) DeleteConnection(ctx context.Context, c *iam.Caller, projectRef, ref string) error {
	c = orNobody(c)
	h, err := s.at(ctx, c, "DeleteConnection", projectRef, connectionItem, ref)
	if err != nil {
		return err
	}
	return s.remove(ctx, c, "DeleteConnection", connectionItem, KindConnection, h)
}

// ListConnections lists the service connections of a project by name, without the names of their secrets. Errors:
// *iam.DeniedError; [*Error] of kind NotFound, Invalid.
func (s *Service) ListConnections(ctx context.Context, c *iam.Caller, projectRef string, page Page) ([]Connection, string, error) {
	_, list, next, err := items(ctx, s, c, projectRef, connectionItem, connectionColumns, scanConnection, func(x *Connection) string { return x.Name }, page)
	return list, next, err
}
