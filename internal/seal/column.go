package seal

import "fmt"

// Column is a column that holds sealed values. There are no others than those of this package: what isn't here, rotation
// would lose.
type Column struct {
	table string
	keys  []string // of a row: columns of text, in the order in which Seal and Open take them
	data  string
}

// AccessKeySecrets are the secrets of access keys; a row is an access key id.
func AccessKeySecrets() *Column { return accessKeySecrets }

// SessionSecrets are the secrets of temporary credentials; a row is an access key id.
func SessionSecrets() *Column { return sessionSecrets }

// SecretValues are the values of secrets; a row is the id of a secret and that of the version.
func SecretValues() *Column { return secretValues }

// ProjectSecrets are the secret variables of pipelines and variable groups and the secret parameters of service
// connections; a row is the id of what it belongs to and a name.
func ProjectSecrets() *Column { return projectSecrets }

// InstanceKeys are keys of the instance; a row is what a key is for.
func InstanceKeys() *Column { return instanceKeys }

// IssuerKeys are what the instance signs identity tokens with; a row is the id of a key.
func IssuerKeys() *Column { return issuerKeys }

// RunSecrets are secret values that a run was started with, or that its jobs set; a row is an id.
func RunSecrets() *Column { return runSecrets }

// Columns are all there are.
func Columns() []*Column {
	return []*Column{accessKeySecrets, sessionSecrets, secretValues, projectSecrets, instanceKeys, issuerKeys, runSecrets}
}

// These are constants.
var (
	accessKeySecrets = &Column{table: "access_keys", keys: []string{"id"}, data: "secret"}
	sessionSecrets   = &Column{table: "sessions", keys: []string{"id"}, data: "secret"}
	secretValues     = &Column{table: "secret_versions", keys: []string{"secret_id", "version_id"}, data: "value"}
	projectSecrets   = &Column{table: "project_secrets", keys: []string{"owner", "name"}, data: "value"}
	instanceKeys     = &Column{table: "instance_keys", keys: []string{"purpose"}, data: "value"}
	issuerKeys       = &Column{table: "issuer_keys", keys: []string{"id"}, data: "value"}
	runSecrets       = &Column{table: "run_secrets", keys: []string{"id"}, data: "value"}
)

// Table and Data name the column in the schema.
func (c *Column) Table() string { return c.table }

// Data is the name of the column.
func (c *Column) Data() string { return c.data }

// bind returns what a sealed value is bound to: its header, table and row. No database lets a zero byte into text, so it
// says where one part ends.
func (c *Column) bind(header []byte, row []string) ([]byte, error) {
	if len(row) != len(c.keys) {
		return nil, fmt.Errorf("seal: a row of %s has %d keys, not %d", c.table, len(c.keys), len(row))
	}
	b := append([]byte(nil), header...)
	b = append(b, c.table...)
	for _, key := range row {
		b = append(b, 0)
		b = append(b, key...)
	}
	return b, nil
}
