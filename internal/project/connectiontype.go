package project

import "slices"

// The types of service connections.
const (
	TypeAWS            = "AWS"
	TypeDockerRegistry = "dockerregistry"
	TypeSekisho        = "sekisho"
	TypeGit            = "git"
	TypeGeneric        = "generic"
)

// The ways of authentication, as published tasks know them.
const (
	SchemeUsernamePassword = "UsernamePassword"
	SchemeToken            = "Token"
	SchemeIdentity         = "WorkloadIdentityFederation"
	SchemeNone             = "None"
)

// Field is a parameter of a service connection.
type Field struct {
	Name     string // as published tasks know it
	Label    string // for people
	Secret   bool
	Required bool
	// Where says that a change of it could have the secrets sent to somebody else.
	Where bool
	Help  string
}

// Scheme is a way of authentication that a type has.
type Scheme struct {
	Name       string
	Label      string
	Parameters []Field
}

// ConnectionType is a type of service connections.
type ConnectionType struct {
	Name    string
	Label   string
	URL     string // what its URL is; "" if it has none
	NeedURL bool
	Schemes []Scheme // the first is the default
	Data    []Field  // beside the parameters of the scheme
	AnyData bool     // other names are data too
}

// ConnectionTypes are all there are. Names are those that the tasks of the AWS Toolkit for Azure DevOps, of Docker@2 and of
// their like look for in ENDPOINT_AUTH_… and ENDPOINT_DATA_….
func ConnectionTypes() []ConnectionType {
	assume := []Field{
		{Name: "assumeRoleArn", Label: "Role to assume", Where: true, Help: "ARN of a role that is assumed with the access key"},
		{Name: "roleSessionName", Label: "Role session name"},
		{Name: "externalId", Label: "External ID", Help: "what the role's trust policy asks for"},
	}
	return []ConnectionType{
		{
			Name: TypeAWS, Label: "AWS", URL: "where the APIs are: empty for this server, https://aws.amazon.com/ for AWS itself",
			Schemes: []Scheme{
				{Name: SchemeUsernamePassword, Label: "Access key", Parameters: append([]Field{
					{Name: "username", Label: "Access key ID", Required: true},
					{Name: "password", Label: "Secret access key", Secret: true, Required: true},
					{Name: "sessionToken", Label: "Session token", Secret: true},
				}, assume...)},
				{Name: SchemeIdentity, Label: "The job's identity token, without keys", Parameters: []Field{
					{Name: "assumeRoleArn", Label: "Role to assume", Required: true, Where: true, Help: "ARN of a role that trusts this server's issuer"},
					{Name: "roleSessionName", Label: "Role session name"},
					{Name: "audience", Label: "Audience", Help: "of the token; sts.amazonaws.com if empty"},
				}},
			},
			Data: []Field{{Name: "region", Label: "Region"}},
		},
		{
			Name: TypeDockerRegistry, Label: "Docker registry", URL: "of the registry, such as https://index.docker.io/v1/", NeedURL: true,
			Schemes: []Scheme{{Name: SchemeUsernamePassword, Label: "User and password", Parameters: []Field{
				{Name: "username", Label: "User", Required: true},
				{Name: "password", Label: "Password or token", Secret: true, Required: true},
				{Name: "email", Label: "E-mail"},
			}}},
			Data: []Field{{Name: "registrytype", Label: "Kind of registry", Help: "DockerHub or Others"}},
		},
		{
			Name: TypeSekisho, Label: "This server, as the job",
			Schemes: []Scheme{{Name: SchemeNone, Label: "The job's own credentials: nothing is stored"}},
		},
		{
			Name: TypeGit, Label: "Git repositories elsewhere", URL: "of the server or the repository", NeedURL: true,
			Schemes: []Scheme{
				{Name: SchemeUsernamePassword, Label: "User and password", Parameters: []Field{
					{Name: "username", Label: "User"}, {Name: "password", Label: "Password or token", Secret: true, Required: true},
				}},
				{Name: SchemeToken, Label: "Token", Parameters: []Field{{Name: "apitoken", Label: "Token", Secret: true, Required: true}}},
				{Name: SchemeNone, Label: "None: everybody may read"},
			},
		},
		{
			Name: TypeGeneric, Label: "Anything else", URL: "of the service", NeedURL: true, AnyData: true,
			Schemes: []Scheme{
				{Name: SchemeUsernamePassword, Label: "User and password", Parameters: []Field{
					{Name: "username", Label: "User"}, {Name: "password", Label: "Password", Secret: true},
				}},
				{Name: SchemeToken, Label: "Token", Parameters: []Field{{Name: "apitoken", Label: "Token", Secret: true, Required: true}}},
				{Name: SchemeNone, Label: "None"},
			},
		},
	}
}

// connectionType returns a type by name, whatever its case, nil for none.
func connectionType(name string) *ConnectionType {
	all := ConnectionTypes()
	i := slices.IndexFunc(all, func(t ConnectionType) bool { return fold(t.Name) == fold(name) })
	if i < 0 {
		return nil
	}
	return &all[i]
}

func (t *ConnectionType) scheme(name string) *Scheme {
	if name == "" {
		return &t.Schemes[0]
	}
	i := slices.IndexFunc(t.Schemes, func(s Scheme) bool { return fold(s.Name) == fold(name) })
	if i < 0 {
		return nil
	}
	return &t.Schemes[i]
}

// field finds a field by name, whatever its case, nil for none.
func field(fields []Field, name string) *Field {
	i := slices.IndexFunc(fields, func(f Field) bool { return fold(f.Name) == fold(name) })
	if i < 0 {
		return nil
	}
	return &fields[i]
}
